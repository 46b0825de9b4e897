"""What a run leaves behind: a table in the terminal, a JSON file, a picture, the tables of docs/performance.md.

This module decides how results look and where they are stored. It measures nothing; `python -m
benchmarks.report` makes pictures and tables anew from the JSON files.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from rich.console import Console
from rich.table import Table

from benchmarks.harness import machine_kind
from benchmarks.workload import PROJECT

RESULTS = PROJECT / "benchmarks" / "results"
PICTURES = PROJECT / "docs" / "images"
PAGE = PROJECT / "docs" / "performance.md"
BEGIN = "<!-- results: made by python -m benchmarks from benchmarks/results -->"
END = "<!-- end of results -->"

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # colours that colour-blind people can tell apart

Json = dict[str, Any]


def print_table(rows: Sequence[Json], console: Console) -> None:
    """Both sides, the ratio and the target of each row; below it, what was sampled and what was checked."""
    table = Table("what", "ours", "other side", "ratio", "target", show_lines=True)
    for row in rows:
        table.add_row(row["what"], _side(row["ours"]), _side(row["other"]), f"[bold]{_ratio(row)}", _target(row))
    console.print(table)
    for note in _notes(rows):
        console.print(f"[dim]- {note}", highlight=False)


def _notes(rows: Sequence[Json]) -> list[str]:
    """How each side was measured, and what was checked before; each once."""
    sides = [side for row in rows for side in (row["ours"], row["other"]) if side["how"]]
    checks = [f"Checked before: {row['same']}" for row in rows if row["same"]]
    return list(dict.fromkeys([f"{side['what']}: {side['how']}" for side in sides] + checks))


def merged(new: Json, file: Path, groups: Sequence[str]) -> Json:
    """`new` with the rows that `file` has of other groups, if they are of the same machine and setting.

    `groups` are the names of all groups, in the order of the rows.
    """
    rows = list(new["rows"])
    if file.exists():
        old = json.loads(file.read_text(encoding="utf-8"))
        measured = {row["group"] for row in rows}
        if (old["machine"], old["setting"]) == (new["machine"], new["setting"]):
            rows += [row for row in old["rows"] if row["group"] not in measured]
    rows.sort(key=lambda row: groups.index(row["group"]) if row["group"] in groups else len(groups))
    return {**new, "rows": rows}


def result_file(folder: Path, machine: Mapping[str, Any]) -> Path:
    """Where the results of such machines are: beside the file of their kind where that is of another processor, whose
    figures are not to be lost."""
    kind = machine_kind(dict(machine))
    file = folder / f"{kind}.json"
    if file.exists() and json.loads(file.read_text(encoding="utf-8"))["machine"]["processor"] != machine["processor"]:
        return folder / f"{kind}-{'-'.join(machine['processor'].lower().split())}.json"
    return file


def write_results(results: Json, file: Path) -> None:
    """As JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def picture_file(folder: Path, results: Path) -> Path:
    """The picture's place, by the file of its results: the CPU's has the plain name."""
    plain = re.fullmatch(r"cpu-\d+-cores", results.stem)
    return folder / ("benchmarks.png" if plain else f"benchmarks-{results.stem}.png")


def draw_picture(results: Json, file: Path) -> None:
    """Bars: how many times faster ours is, and multiples of which less is better; targets as vertical lines."""
    kinds = [
        ("higher", "times faster than the other side (black line: target; orange: not reached)"),
        ("lower", "multiple of the other side, less is better (black line: target; orange: not reached)"),
    ]
    panels = [([row for row in results["rows"] if row["better"] == better], title) for better, title in kinds]
    panels = [(rows, title) for rows, title in panels if rows]
    if not panels:
        return
    heights = [len(rows) + 1.5 for rows, _ in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(11, 0.36 * sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, (rows, title) in zip(axes[:, 0], panels, strict=True):
        _bars(axis, rows, title)
    figure.suptitle(f"{machine_words(results['machine'])}; {results['setting']['data']}", fontsize=10)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def _bars(axis: Axes, rows: Sequence[Json], title: str) -> None:
    places = range(len(rows))
    colours = [ORANGE if row["target"] and not row["target"]["reached"] else BLUE for row in rows]
    start = 1.0 if rows[0]["better"] == "higher" else 0.0
    axis.barh(places, [row["ratio"] - start for row in rows], left=start, color=colours, height=0.7)
    axis.set_yticks(places, [row["what"] for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(1.0, color=GREY, linewidth=0.8)
    if rows[0]["better"] == "higher":
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}x")
        axis.xaxis.set_minor_formatter(NullFormatter())
    for place, row in zip(places, rows, strict=True):
        axis.annotate(_ratio(row), (row["ratio"], place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        bound = _bound(row)
        if bound is not None:
            axis.plot([bound, bound], [place - 0.45, place + 0.45], color="black", linewidth=1.5)
    axis.margins(x=0.12)
    axis.set_title(title, fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def _bound(row: Json) -> float | None:
    """The target's ratio, where it is one."""
    text = row["target"]["text"] if row["target"] else ""
    return float(text.split()[2].removesuffix("x")) if text.startswith("at ") and text.endswith("x") else None


def write_page(page: Path, results: Path) -> None:
    """Bring the tables of `page` up to date with all JSON files in `results`."""
    page.write_text(page_with_tables(page.read_text(encoding="utf-8"), results), encoding="utf-8")


def page_with_tables(text: str, results: Path) -> str:
    """The page's text with the tables as they must be; raises ValueError if it has lost a marker."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs the lines {BEGIN} and {END}")
    files = sorted(results.glob("*.json"))
    tables = [_markdown(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return f"{before}{begin}\n\n" + "\n\n".join([*tables, f"{end}{after}"])


def _markdown(results: Json) -> str:
    """One machine's results: facts, and a table."""
    setting = results["setting"]
    lines = [
        f"### {machine_words(results['machine'])}",
        "",
        f"{setting['data']}: {setting['messages']:,} messages, {setting['tokens']:,} tokens; {setting['model']}.",
        "",
        "| what | ours | other side | ratio | target |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        cells = [row["what"], _side(row["ours"]), _side(row["other"]), f"**{_ratio(row)}**", _target(row)]
        lines.append("| " + " | ".join(cell.replace("\n", "<br>").replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "How each side was measured:", "", *(f"- {note}." for note in _notes(results["rows"]))]
    return "\n".join(lines)


def redraw() -> None:
    """Pictures and page anew from the results that are there."""
    for file in RESULTS.glob("*.json"):
        results = json.loads(file.read_text(encoding="utf-8"))
        draw_picture(results, picture_file(PICTURES, file))
    write_page(PAGE, RESULTS)


def machine_words(machine: Mapping[str, Any]) -> str:
    """The machine in a line."""
    threads = f"{machine['cores']} cores, {machine['torch_threads']} threads"
    place = f"{machine['gpu']}, {machine['processor']}" if "gpu" in machine else machine["processor"]
    return f"{place}, {threads}, torch {machine['torch']}"


def _side(side: Json) -> str:
    return f"{_number(side['amount'])} {side['unit']}\n{side['what']}"


def _ratio(row: Json) -> str:
    return f"{row['ratio']:.3g}x"


def _target(row: Json) -> str:
    if not row["target"]:
        return ""
    return f"{row['target']['text']}: {'reached' if row['target']['reached'] else 'not reached'}"


def _number(amount: float) -> str:
    """Three digits, without an exponent."""
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


if __name__ == "__main__":
    redraw()
