"""What `finetune inspect` prints: one screen, or one JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from flows.terminal.drawing import console as drawn_on
from lib.data.messages.labels import shown

if TYPE_CHECKING:
    from lib.data.inspection.inspecting import Inspected
    from lib.data.inspection.labelled import LeftOut
    from lib.data.inspection.overview import Overview
    from lib.data.source.columns import Column
    from lib.text.inspection import Inspection, Lengths

KINDS = {"tsv": "tab-separated", "csv": "CSV", "jsonl": "JSON", "parquet": "Parquet", "excel": "workbook"}
QUOTINGS = {
    "csv": "double quotes enclose fields",
    "backslash": "double quotes enclose fields, with backslashes before those inside",
    "none": "quotes are part of the text",
}
MOST_COLUMNS, MOST_CLASSES, MOST_SENTENCES, MOST_ROWS = 12, 10, 8, 4  # on the screen
NARROWEST = 12  # characters of an example
LONGEST_NAME = 30  # characters of a column's
HEADINGS = ("column", "looks like", "holds", "different", "characters", "three values")
HOW = {"given": "as said", "byte order mark": "by its byte order mark", "contents": "by its bytes"}


def as_json(
    found: Inspected, lengths: Sequence[Lengths], compared: Mapping[str, Inspection], command: str | None
) -> dict[str, Any]:
    """Returns all that was found."""
    roles, findings = found.overview.roles, found.findings
    facts: dict[str, Any] = {
        "file": found.origin.name,
        "files": found.origin.files,
        "bytes": found.origin.size,
        "compression": found.origin.compression,
        "kind": found.kind,
        **found.form.as_json(),
        "columns": [column.as_json() for column in found.overview.columns],
        "text_column": roles.text,
        "label_column": roles.label,
        "split_column": roles.split,
        "rows": found.rows,
        "rows_read": found.read,
    }
    if findings is not None:
        facts |= {
            "labels": dict(findings.classes),
            "labels_of_all_rows": findings.of_all,
            "empty_texts": findings.empty_texts,
            "empty_labels": findings.empty_labels,
            **findings.alike.as_json(),
        }
    if found.instructions is not None:
        facts |= {
            "shape": found.instructions.shape,
            "conversations": found.instructions.conversations,
            "repeated_questions": found.instructions.repeated,
            "nothing_to_learn": len(found.instructions.empty),
        }
    return facts | {
        "unusable_rows": max(len(found.left_out), findings.unreadable if findings else 0),
        "left_out": [row._asdict() for row in found.left_out[:MOST_ROWS]],
        "warnings": list(findings.sentences) if findings else [],
        "refusal": found.refusal,
        "lengths": [length._asdict() for length in lengths],
        "tokenizers": [{"tokenizer": name, **_renamed(asdict(each))} for name, each in compared.items()],
        "command": command,
    }


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Calls the tokenizer's own name `kind`, beside the name by which it was asked for."""
    return {"kind": fields.pop("tokenizer"), **fields}


def show(
    found: Inspected,
    lengths: Sequence[Lengths],
    compared: Mapping[str, Inspection],
    command: str | None,
    *,
    max_length: int | None,
) -> None:
    """Prints all that was found, as much as a screen has room for."""
    console = drawn_on(highlight=False, soft_wrap=False)
    for line in _what_it_is(found):
        console.print(Text(line))
    if found.overview.columns:
        console.print(_columns(found.overview, console.width))
    if found.findings is not None and found.findings.classes:
        console.print(Text(_classes(found)))
    for line in _lengths(lengths):
        console.print(Text(line))
    if compared:
        console.print(_comparison(compared, max_length))
    for line in _worth_a_look(found, lengths):
        console.print(Text(line))
    if found.refusal is not None:
        console.print(Text(f"A run would refuse this: {found.refusal}"))
    elif command is not None:
        console.print(Text("Trains on it:"))
        console.print(Text(f"    {command}"), soft_wrap=True)  # to be copied as one line


def _what_it_is(found: Inspected) -> Iterator[str]:
    form = found.form
    kind = " ".join(filter(None, (found.origin.compression, KINDS[form.kind])))
    files = f"{found.origin.files:,} files, " if found.origin.files > 1 else ""
    layout = f" ({form.layout})" if form.layout else ""
    yield f"{found.origin.name}: {kind}{layout}, {files}{_size(found.origin.size)}, {_rows(found)}"
    facts = []
    if form.encoding is not None:
        sure = f"detected, with confidence {form.encoding.confidence:.2g}"
        facts.append(f"encoding {form.encoding.name} ({HOW.get(form.encoding.how, sure)})")
    if form.separator is not None:
        facts.append(f"separator {form.separator!r}; {QUOTINGS[form.quoting or 'csv']}")
    if form.header is not None:
        facts.append("a header row" if form.header else "no header row")
    if found.instructions is not None:
        several = found.instructions.conversations
        facts.append(f"instructions: {found.instructions.shape}{f', {several:,} of several turns' if several else ''}")
    if facts:
        yield f"  {'; '.join(facts)}"
    if found.rows != found.read and found.kind != "columns":
        of_all = found.findings is not None and found.findings.of_all
        yield (
            f"  columns are of the first {found.overview.rows:,} rows, {'classes of all rows, ' * of_all}and what"
            f" follows of the first {found.read:,}"
        )
    elif found.overview.rows < found.read:
        yield f"  columns are of the first {found.overview.rows:,} rows, and what follows of all rows"


def _size(size: int) -> str:
    if size < 10**3:
        return f"{size} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= 10**5 else f"{size / 1e3:,.1f} kB"


def _rows(found: Inspected) -> str:
    if found.rows is not None:
        return f"{found.rows:,} row{'s' * (found.rows != 1)}"
    return f"more than {found.read:,} rows"


def _columns(overview: Overview, width: int) -> Table:
    columns = overview.columns
    facts = [
        (_shortened(column.name, LONGEST_NAME), column.role or "", column.holds, f"{column.distinct:,}",
         f"{column.characters:,.0f}")
        for column in columns[:MOST_COLUMNS]
    ]  # fmt: skip
    widths = [max(map(len, cells)) for cells in zip(HEADINGS, *facts, strict=False)]
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name, least in zip_longest(HEADINGS, widths):  # of the examples as much as there is room for
        side: JustifyMethod = "right" if name in ("different", "characters") else "left"
        table.add_column(name, justify=side, no_wrap=True, min_width=least)
    others = sum(widths) + 2 * len(widths)
    room = max(NARROWEST, (width - others) // 3 - len("'…', "))
    for column, cells in zip(columns, facts, strict=False):
        examples = ", ".join(_shortened(example, room) for example in column.examples)
        table.add_row(*map(Text, (*cells, examples)))
    if len(columns) > MOST_COLUMNS:
        table.add_row(Text(f"and {len(columns) - MOST_COLUMNS:,} more"))
    return table


def _shortened(value: Column, room: int) -> str:
    """Returns a value in quotes, control characters escaped, in so many characters; a position as it is."""
    if isinstance(value, int):
        return str(value)
    return repr(value) if len(repr(value)) <= room + 2 else repr(f"{value[: max(1, room - 1)]}…")


def _classes(found: Inspected) -> str:
    assert found.findings is not None
    classes = found.findings.classes
    total = sum(classes.values())
    phrases = [
        f"{shown(label)} {count:,} ({count / total:.0%})" for label, count in list(classes.items())[:MOST_CLASSES]
    ]
    more = f", and {len(classes) - MOST_CLASSES:,} more" if len(classes) > MOST_CLASSES else ""
    return f"{len(classes):,} class{'es' * (len(classes) != 1)}: {', '.join(phrases)}{more}"


def _lengths(lengths: Sequence[Lengths]) -> Iterator[str]:
    for each in lengths:
        cuts = ", ".join(f"{count:,} have more than {limit:,}" for limit, count in each.longer.items() if count)
        texts = f"{each.texts:,} text{'s' * (each.texts != 1)}"
        yield (
            f"tokens of {texts}, by {each.tokenizer}: median {each.tokens['median']:,.0f}, 95 % have at"
            f" most {each.tokens['p95']:,.0f}, longest {each.tokens['longest']:,};"
            f" {cuts or f'none has more than {min(each.longer):,}'}"
        )


def _worth_a_look(found: Inspected, lengths: Sequence[Lengths]) -> Iterator[str]:
    sentences = [*_counted(found), *_on_long_texts(lengths)]
    if found.findings is not None:
        sentences += found.findings.sentences
    also = found.overview.roles.also
    if also and found.kind == "labelled texts":
        sentences.append(f"other columns of few values: {', '.join(map(repr, also[:MOST_COLUMNS]))}")
    if not sentences:
        return
    yield "Worth a look:"
    yield from (f"  - {sentence}" for sentence in sentences[:MOST_SENTENCES])
    if len(sentences) > MOST_SENTENCES:
        yield f"  - and {len(sentences) - MOST_SENTENCES} more, which --json has"


def _on_long_texts(lengths: Sequence[Lengths]) -> Iterator[str]:
    for each in lengths:
        limit, count = next(iter(each.longer.items()))
        if count:
            yield (
                f"{count / each.texts:.1%} of the texts have more than {limit:,} tokens, and would be cut there: see"
                " encoding.long_texts, or take a model that reads more"
            )


def _counted(found: Inspected) -> Iterator[str]:
    if found.left_out:
        count = max(len(found.left_out), found.findings.unreadable if found.findings else 0)
        rows = "; ".join(f"{_place(row)}: {row.reason}" for row in found.left_out[:MOST_ROWS])
        more = "; …" if count > MOST_ROWS else ""
        yield f"{count:,} row{'s' * (count != 1)} cannot be used ({rows}{more})"
    elif found.findings is not None and found.findings.unreadable:
        yield f"{found.findings.unreadable:,} rows cannot be read"
    if found.findings is not None:
        for count, what in ((found.findings.empty_texts, "text"), (found.findings.empty_labels, "label")):
            if count:
                yield f"{count:,} row{'s have' if count != 1 else ' has'} no {what}"
    if found.instructions is not None and found.instructions.repeated:
        yield f"{found.instructions.repeated:,} entries ask what another one asks"


def _place(row: LeftOut) -> str:
    return f"row {row.row:,}" if row.line is None else f"line {row.line:,} (row {row.row:,})"


def _comparison(compared: Mapping[str, Inspection], max_length: int | None) -> Table:
    table = Table()
    table.add_column("", no_wrap=True)
    for name in compared:
        table.add_column(Text(Path(name).name if Path(name).is_dir() else name), overflow="fold")
    for row in zip(*(_facts(each, max_length) for each in compared.values()), strict=True):
        table.add_row(row[0][0], *(Text(value) for _, value in row))
    return table


def _facts(found: Inspection, max_length: int | None) -> Iterator[tuple[str, str]]:
    """Yields the rows of a tokenizer's column."""
    yield "tokenizer", found.tokenizer
    yield "tokens a text: median", f"{found.tokens['median']:,.0f}"
    yield "  95 % have at most", f"{found.tokens['p95']:,.0f}"
    yield "  longest", f"{found.tokens['longest']:,}"
    yield "characters a token", f"{found.characters_per_token:.2f}"
    yield "unknown tokens", f"{found.unknown:.2%}"
    yield "words of several tokens", f"{found.split:.1%}"
    words = (f"{word.word} {word.pieces} × {word.times:,}" for word in found.most_split)
    yield "  costliest (tokens × times)", "\n".join(words)
    if max_length is not None and found.cut is not None:
        yield f"texts cut at {max_length:,} tokens", f"{found.cut:,} ({found.cut / found.texts:.1%})"
