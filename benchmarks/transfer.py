"""`python -m benchmarks.transfer`: what pretraining is worth, on published test sets.

Runs the recipes on real texts with really pretrained weights, with the same networks at random, and TF-IDF beside them.
Each is a run of `finetune classify` from the file to the figures. Prints a table, writes JSON, a picture, and the
tables of docs/encoder-or-decoder.md and README.md. `--redraw` makes these anew from the JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cached_flow import environment, running_prefect
from benchmarks.harness import machine, machine_kind
from benchmarks.workload import PROJECT

RESULTS = PROJECT / "benchmarks" / "results" / "transfer"
PICTURE = PROJECT / "docs" / "images" / "encoder-or-decoder.png"
PAGES = (PROJECT / "docs" / "encoder-or-decoder.md", PROJECT / "README.md")
ENCODER, DECODER = "all-minilm-l6-v2", "smollm2-135m-instruct"  # the folders of the weights
RANDOM = "-random"  # added to a folder's name: the same network with random numbers

Json = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """Texts with a published test set: its name, how a recipe names it, and its files in the data folder."""

    name: str
    title: str
    files: Mapping[str, str]  # by split; or the one archive of `source`
    source: str = "file"

    def flags(self, folder: Path) -> list[str]:
        """The flags of `finetune classify`. All but a twentieth of what is not given goes to train."""
        if self.source != "file":
            return ["--data.source", self.source, "--data.url", f"{(folder / self.files['all']).resolve()}"]
        places = {split: f"{(folder / file).resolve()}" for split, file in self.files.items()}
        shares = ["--split.train", "0.9", "--split.validation", "0.05", "--split.test", "0.05"]
        return ["--data.source", "file", "--data.files", json.dumps(places), *shares]


@dataclass(frozen=True)
class Model:
    """A network and how it is trained."""

    name: str
    title: str
    recipe: str
    weights: str  # the folder in the models' folder
    changes: tuple[str, ...] = ()


DATA = (
    Data("trec", "TREC, 6 classes, published test set", {"train": "trec-train.csv", "test": "trec-test.csv"}),
    Data(
        "banking77",
        "Banking77, 77 classes, published test set",
        {"train": "banking77-train.csv", "test": "banking77-test.csv"},
    ),
    Data("sms", "SMS Spam Collection, our split", {"all": "sms+spam+collection.zip"}, source="sms-spam"),
    Data(
        "sst2",
        "SST-2, 2 classes, published sets",
        {"train": "sst2-train.csv", "validation": "sst2-dev.csv", "test": "sst2-test.csv"},
    ),
)
ALL_LAYERS = ("--classifier.trainable", "all", "--training.learning_rate", "5.0e-5", "--training.epochs", "2")
MODELS = (
    Model("encoder", "MiniLM, last block", "encoder", ENCODER),
    Model("encoder-random", "MiniLM's shape at random", "encoder", ENCODER + RANDOM),
    Model("decoder", "SmolLM2, last block", "decoder-small", DECODER),
    Model("encoder-all", "MiniLM, all layers", "encoder", ENCODER, ALL_LAYERS),
    Model("decoder-random", "SmolLM2's shape at random", "decoder-small", DECODER + RANDOM),
)
ONLY_FOR = {"encoder-all": ("sst2",)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for and adds it to the results; 1 if a run failed."""
    options = _parser().parse_args(arguments)
    file = RESULTS / f"{machine_kind(machine('cpu'))}.json"
    if not options.redraw:
        runs = [
            (data, model) for model in MODELS for data in DATA if data.name in ONLY_FOR.get(model.name, (data.name,))
        ]
        wanted = [pair for pair in runs if not options.only or {pair[0].name, pair[1].name} & set(options.only)]
        with tempfile.TemporaryDirectory() as scratch:
            _measure(wanted, options, Path(scratch), file)
    results: Json = json.loads(file.read_text(encoding="utf-8"))
    print(table(results))  # noqa: T201 - this is the program's output
    draw(results, PICTURE)
    for page in PAGES:
        page.write_text(page_with_tables(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__)
    parser.add_argument("--models", type=Path, default=PROJECT.parent / "shared" / "models" / "weights")
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    parser.add_argument("--only", nargs="*", help="names of data sets or models: only their runs")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: pictures and pages from the results")
    return parser


def _measure(wanted: Sequence[tuple[Data, Model]], options: argparse.Namespace, scratch: Path, file: Path) -> None:
    """Runs each pair, and writes the results after each, so that an interruption loses none."""
    results: Json = {"machine": machine("cpu"), "runs": []}
    if file.exists():
        results = json.loads(file.read_text(encoding="utf-8"))
    for name in {model.weights for _, model in wanted if model.weights.endswith(RANDOM)}:
        write_random(options.models / name.removesuffix(RANDOM), scratch / name)
    (scratch / "home").mkdir()
    env = environment(scratch / "home")
    with running_prefect(scratch / "home") as server:
        for data, model in wanted:
            print(f"{data.title}: {model.title} …", file=sys.stderr)  # noqa: T201
            place = (scratch if model.weights.endswith(RANDOM) else options.models) / model.weights
            flags = [*data.flags(options.data), "--model.weights", f"{place.resolve()}", *model.changes]
            flags += ["--registry.name", f"{data.name}-{model.name}", "--registry.promote", "never", "--json"]
            if model is not MODELS[0]:
                flags += ["--evaluation.baseline", "false"]  # it depends on the data alone
            run = _run(["--recipe", model.recipe, *flags], {**env, **server})
            others = [each for each in results["runs"] if (each["data"], each["model"]) != (data.name, model.name)]
            results["runs"] = [*others, {"data": data.name, "model": model.name, **run}]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _run(flags: Sequence[str], env: Mapping[str, str]) -> Json:
    """Returns accuracies with intervals, seconds of the steps, and parameters."""
    command = [sys.executable, "-m", "flows.classify", *flags]
    done = subprocess.run(command, cwd=PROJECT, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(flags)}: {done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    metrics, steps = told["metrics"], {step["step"]: step for step in told["steps"]}
    trained = json.loads((Path(steps["finetune"]["artifact"]["folder"]) / "training.json").read_text())
    figures = ("test/accuracy", "test/accuracy_low", "test/accuracy_high", "baseline/test/accuracy", "test/rows")
    return {
        **{name: metrics[name] for name in figures if name in metrics},
        "seconds": {name: steps[name]["seconds"] for name in ("features", "finetune", "evaluate")},
        "parameters": trained["parameters"],
        "trainable_parameters": trained["trainable_parameters"],
    }


def write_random(source: Path, target: Path) -> None:
    """Writes the network of a folder with the random numbers that its family begins with, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(source)).save_pretrained(target)
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special_tokens", "chat_template")):
            shutil.copyfile(file, target / file.name)


def table(results: Json) -> str:
    """The results in Markdown: a row for each data set, a column for each model, seconds below the accuracies."""
    runs = {(run["data"], run["model"]): run for run in results["runs"]}
    lines = [
        "| data | TF-IDF | " + " | ".join(model.title for model in MODELS) + " |",
        "|---|" + "---:|" * (len(MODELS) + 1),
    ]
    for data in DATA:
        found = [runs.get((data.name, model.name)) for model in MODELS]
        baseline = _baseline(found)
        cells = [f"{data.title} ({_rows(found)} texts)", "" if baseline is None else f"{baseline:.1%}"]
        lines.append("| " + " | ".join([*cells, *(_cell(run) for run in found)]) + " |")
    return "\n".join(lines)


def _baseline(found: Sequence[Json | None]) -> float | None:
    return next((run["baseline/test/accuracy"] for run in found if run and "baseline/test/accuracy" in run), None)


def _rows(found: Sequence[Json | None]) -> str:
    return next((f"{run['test/rows']:,.0f}" for run in found if run and "test/rows" in run), "?")


def _cell(run: Json | None) -> str:
    if run is None:
        return ""
    interval = f"{100 * run['test/accuracy_low']:.1f} to {100 * run['test/accuracy_high']:.1f}"
    seconds = run["seconds"]
    return f"**{run['test/accuracy']:.1%}** ({interval})<br>{seconds['features']:.0f} + {seconds['finetune']:.0f} s"


def speed_table(results: Json) -> str:
    """The speed against the Trainer in Markdown: a row for each network and number type."""
    lines = [
        "| weights, number type | ours: features + training | Trainer | cold | warm | accuracy, ours and theirs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in results.get("speed", []):
        ours, theirs = row["ours"], row["trainer"]
        other = f"{theirs['accuracy']:.1%}" if "accuracy" in theirs else "not run whole"
        cells = [
            f"{row['model']}, {row['precision']}",
            f"{ours['features']:.1f} + {ours['training']:.1f} s",
            f"{theirs['seconds']:.0f} s"
            + ("" if theirs["share"] == 1 else f" (from {theirs['share']:.1%} of the batches)"),
            f"**{row['cold_ratio']:.1f}x**",
            f"**{row['warm_ratio']:.1f}x**",
            f"{ours['accuracy']:.1%}, {other}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES = {"transfer": table, "speed": speed_table}


def page_with_tables(text: str, results: Json) -> str:
    """The page's text with its tables as they must be: each stands between two comments with its name."""
    for name, make in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name}: made by python -m benchmarks.transfer -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if begin and end:
            text = f"{before}{begin}\n\n{make(results)}\n\n{end}{after}"
    return text


def draw(results: Json, file: Path) -> None:
    """A panel for each data set: the accuracy of each model, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    names = ["TF-IDF", *(model.title for model in MODELS)]
    figure, axes = pyplot.subplots(1, len(DATA), figsize=(13, 3.6), layout="constrained", sharey=True)
    for axis, data in zip(axes, DATA, strict=True):
        # Points and not bars: an axis that does not begin at zero would give bars a wrong length.
        for name, accuracy, low, high, colour in _measured(data, results["runs"]):
            place = names.index(name)
            axis.plot(accuracy, place, "o", color=colour, markersize=7)
            if low is not None and high is not None:
                axis.plot([low, high], [place, place], color=colour, linewidth=1.5)
            axis.annotate(
                f"{accuracy:.1%}", (accuracy, place), (0, 6), textcoords="offset points", ha="center", fontsize=9
            )
        axis.set_title(data.title, fontsize=9, loc="left")
        axis.margins(x=0.15)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0].set_ylim(len(names) - 0.5, -0.7)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


BLUE, LIGHT, ORANGE, PALE, GREY = "#0072B2", "#7fb8dc", "#D55E00", "#f0a35e", "#777777"  # for colour-blind people too
COLOURS = {"encoder": BLUE, "encoder-random": LIGHT, "decoder": ORANGE, "decoder-random": PALE, "encoder-all": BLUE}


def _measured(data: Data, runs: Sequence[Json]) -> Iterator[tuple[str, float, float | None, float | None, str]]:
    """The name, accuracy, interval and colour of each model."""
    mine = {run["model"]: run for run in runs if run["data"] == data.name}
    baseline = _baseline(list(mine.values()))
    if baseline is not None:
        yield "TF-IDF", baseline, None, None, GREY
    for model in MODELS:
        if run := mine.get(model.name):
            yield (
                model.title,
                run["test/accuracy"],
                run["test/accuracy_low"],
                run["test/accuracy_high"],
                COLOURS[model.name],
            )


if __name__ == "__main__":
    sys.exit(main())
