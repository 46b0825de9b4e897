"""Show what a tokenizer makes of the texts of a file.

finetune inspect [FILE] --tokenizer NAME [--tokenizer NAME ...] [--max-length TOKENS] [--json]

FILE is what `data.url` of a recipe may be: a path or an address of labelled texts; without it the bundled messages are
inspected. NAME is what `model.weights` may be; `gpt2` is GPT-2's own tokenizer. Labels are not read.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.terminal.command_line import describe
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from lib.recipes.data import PRESETS
from lib.recipes.fields import recipe_fields
from lib.recipes.inspection import InspectedFile, TextFile
from lib.recipes.reading import build_recipe

if TYPE_CHECKING:
    from lib.text.inspection import Inspection
    from lib.text.tokenizer import Tokenizer

GPT2 = "gpt2"


class Texts(NamedTuple):
    """The texts of a file, and how many rows had none."""

    name: str
    texts: list[str]
    empty: int


def parser() -> Parser:
    """The flags; those that say how a file is read are called as in a recipe."""
    parser = Parser(
        prog="finetune inspect", description="Show what a tokenizer makes of the texts of a file.", allow_abbrev=False
    )
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="labelled texts, as data.url of a recipe; without it the bundled ones")
    add(
        "--tokenizer",
        action="append",
        required=True,
        metavar="NAME",
        help=f"whose tokenizer: weights as in model.weights, or {GPT2}; several are compared in columns",
    )
    add("--max-length", type=_tokens, metavar="TOKENS", help="count the messages that this length would cut")
    add("--json", action="store_true", help="print one JSON object")
    for field in recipe_fields(InspectedFile):
        add(f"--{field.path}", metavar="VALUE", default=argparse.SUPPRESS, help=describe(field, field.default))
    return parser


def main(argv: Sequence[str]) -> int:
    """Inspects what the arguments ask for; returns the exit status."""
    return exit_status_of(lambda: _inspect(parser().parse_args(argv)))


def _inspect(options: argparse.Namespace) -> int:
    announce(f"finetune inspect: {options.file or 'the bundled messages'}")
    from lib.text.inspection import inspect_texts

    given = {path: value for path, value in vars(options).items() if path.startswith("data.")}
    source = _read(options.file, given)
    inspections = {
        name: inspect_texts(source.texts, _tokenizer(name), max_length=options.max_length)
        for name in dict.fromkeys(options.tokenizer)
    }
    if options.json:
        print(json.dumps(_as_json(source, inspections, options.max_length)))  # noqa: T201
    else:
        _show(source, inspections, options.max_length)
    return 0


def _tokens(text: str) -> int:
    """A number of tokens as typed on a command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no length: give a whole number of tokens, at least 1")
    return int(text)


def _read(file: str | None, given: dict[str, str]) -> Texts:
    """Reads the texts as the steps `download` and `messages` do."""
    from lib.data.messages.reading import EMPTY_TEXT, read_messages
    from lib.data.samples import FILES
    from lib.data.source.data_file import DataFile
    from lib.data.source.download import download
    from lib.data.source.reader import How

    preset = {} if file else {name: value for name, value in PRESETS["sample"].items() if name in TextFile.model_fields}
    data = build_recipe({"data": preset}, given, origin="the command line", model=InspectedFile).data
    addresses = [file or str(FILES["messages"])]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = download(addresses, place / "data", scratch=place / "scratch", member=data.member)
        how = How(data.format, data.encoding, data.separator, data.quoting, data.sheet)
        read = read_messages(
            DataFile(found.file, found.file.name),
            how,
            text_column=data.text_column,
            label_column=data.text_column,  # labels are not needed
            empty_text="drop",
        )
    empty = read.left_out.column("reason").to_pylist().count(EMPTY_TEXT)
    return Texts(found.file.name, read.messages["text"].tolist(), empty)


def _tokenizer(name: str) -> Tokenizer:
    from lib.model.gpt2.openai import Release
    from lib.model.places import find_weights, tokenizer_folder
    from lib.text.gpt2 import gpt2_tokenizer
    from lib.text.tokenizer import load_tokenizer
    from lib.text.tokenizer_folder import prepare_tokenizer

    if name == GPT2 or isinstance(find_weights(name), Release):
        return gpt2_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        prepare_tokenizer(tokenizer_folder(name), Path(folder))
        return load_tokenizer(Path(folder))


def _as_json(source: Texts, inspections: dict[str, Inspection], max_length: int | None) -> dict[str, Any]:
    tokenizers = [{"tokenizer": name, **_renamed(asdict(found))} for name, found in inspections.items()]
    return {
        "file": source.name,
        "rows": len(source.texts) + source.empty,
        "empty_texts": source.empty,
        "max_length": max_length,
        "tokenizers": tokenizers,
    }


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Calls the tokenizer's own name `kind`, beside the name by which it was asked for."""
    return {"kind": fields.pop("tokenizer"), **fields}


def _show(source: Texts, inspections: dict[str, Inspection], max_length: int | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    without = f" ({source.empty:,} more are empty)" if source.empty else ""
    table = Table(title=f"{source.name}: {len(source.texts):,} messages{without}", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in inspections:
        table.add_column(Text(Path(name).name if Path(name).is_dir() else name), overflow="fold")
    for row in zip(*(_facts(found, max_length) for found in inspections.values()), strict=True):
        table.add_row(row[0][0], *(Text(value) for _, value in row))
    Console().print(table)


def _facts(found: Inspection, max_length: int | None) -> Iterator[tuple[str, str]]:
    """Yields the rows of a tokenizer's column."""
    yield "tokenizer", found.tokenizer
    yield "tokens a message: median", f"{found.tokens['median']:,.0f}"
    yield "  95 % have at most", f"{found.tokens['p95']:,.0f}"
    yield "  longest", f"{found.tokens['longest']:,}"
    yield "characters a token", f"{found.characters_per_token:.2f}"
    yield "unknown tokens", f"{found.unknown:.2%}"
    yield "words of several tokens", f"{found.split:.1%}"
    words = (f"{word.word} {word.pieces} × {word.times:,}" for word in found.most_split)
    yield "  costliest (tokens × times)", "\n".join(words)
    if max_length is not None and found.cut is not None:
        yield f"messages cut at {max_length:,} tokens", f"{found.cut:,} ({found.cut / found.texts:.1%})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
