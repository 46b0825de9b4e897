"""Look at data before training: what it is, what is wrong with it, how long its texts are, and what trains on it.

finetune inspect [FILE ...] [--recipe OUT.yaml] [--tokenizer NAME ...] [--max-length TOKENS] [--json]

FILE is what `data.url` of a recipe may be: a path, a folder, a pattern or an address; several are one data set, and
without any the bundled messages are inspected. NAME is what `model.weights` may be; `gpt2` is GPT-2's own tokenizer.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.terminal.command_line import describe
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from lib.recipes.data import PRESETS
from lib.recipes.fields import recipe_fields
from lib.recipes.inspection import InspectedFile, TextFile
from lib.recipes.reading import build_recipe
from lib.secrets import Address

if TYPE_CHECKING:
    from lib.data.inspection.inspecting import Inspected
    from lib.data.source.data_file import DataFile
    from lib.text.inspection import Lengths
    from lib.text.tokenizer import Tokenizer

GPT2 = "gpt2"
COUNTED = 2_000  # texts whose tokens are counted, at even distances among those that were read
COMPARED = 20_000  # the same with --tokenizer, which is waited for


def parser() -> Parser:
    """The flags; those that say how a file is read are called as in a recipe."""
    parser = Parser(
        prog="finetune inspect",
        description="Look at data before training: what it is, what is wrong with it, and what trains on it.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    about_files = "data, as data.url of a recipe; without it the bundled messages"
    add("files", nargs="*", metavar="FILE", type=Address, help=about_files)
    add("--recipe", type=Path, metavar="OUT.yaml", help="write the recipe that trains on it")
    add(
        "--tokenizer",
        action="append",
        default=[],
        metavar="NAME",
        help=f"whose tokenizer: weights as in model.weights, or {GPT2}; several are compared in columns",
    )
    add("--max-length", type=_tokens, metavar="TOKENS", help="count the texts that this length would cut")
    add("--json", action="store_true", help="print one JSON object")
    for field in recipe_fields(InspectedFile):
        add(f"--{field.path}", metavar="VALUE", default=argparse.SUPPRESS, help=describe(field, field.default))
    return parser


def main(argv: Sequence[str]) -> int:
    """Inspects what the arguments ask for; returns the exit status."""
    return exit_status_of(lambda: _inspect(parser().parse_args(argv)))


def _inspect(options: argparse.Namespace) -> int:
    announce(f"finetune inspect: {' '.join(options.files) or 'the bundled messages'}")
    from flows.terminal.inspected import as_json, show
    from flows.terminal.suggested import command_line, write_recipe
    from lib.text.inspection import inspect_texts

    given = {path: value for path, value in vars(options).items() if path.startswith("data.")}
    found = _found(options.files, given)
    lengths = [_lengths(found, options.max_length)] if found.texts and not options.tokenizer else []
    texts = _some(found.texts, COMPARED)
    compared = {
        name: inspect_texts(texts, _tokenizer(name), max_length=options.max_length)
        for name in dict.fromkeys(options.tokenizer)
    }
    use_case = "instruct" if found.kind == "instructions" else "classify"
    changes = _changes(found, options.files, given)
    command = command_line(use_case, changes) if found.refusal is None else None
    if options.json:
        print(json.dumps(as_json(found, lengths, compared, command)))  # noqa: T201
    else:
        show(found, lengths, compared, command, max_length=options.max_length)
    if options.recipe is not None:
        found.require_trainable()
        write_recipe(options.recipe, use_case, changes)
        announce(f"{options.recipe} is written: finetune {use_case} --recipe {options.recipe}")
    return 0


def _tokens(text: str) -> int:
    """A number of tokens as typed on a command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no length: give a whole number of tokens, at least 1")
    return int(text)


def _found(given_files: Sequence[str], given: dict[str, str]) -> Inspected:
    """Inspects the files, as the steps `download` and `messages` read them."""
    from lib.data.inspection.inspecting import inspect_source
    from lib.data.source.reader import How

    preset = {} if given_files else {name: PRESETS["sample"].get(name) for name in TextFile.model_fields}
    data = build_recipe({"data": preset}, given, origin="the command line", model=InspectedFile).data
    how = How(data.format, data.encoding, data.separator, data.quoting, data.sheet)
    with tempfile.TemporaryDirectory() as folder:
        files = list(_files(given_files, data.member, Path(folder)))
        return inspect_source(files, how, text=data.text_column, label=data.label_column)


def _files(given: Sequence[str], member: str | None, folder: Path) -> Iterator[DataFile]:
    """Yields the files: those that need not be unpacked where they lie, others fetched into a folder."""
    from lib.data.samples import FILES
    from lib.data.source.compressed import without_ending
    from lib.data.source.data_file import DataFile
    from lib.data.source.download import ONE_FILE, download
    from lib.data.source.places import find_files

    addresses = [file for each in given for file in find_files(each, ONE_FILE, by_split=True).files]
    for number, address in enumerate(addresses or [str(FILES["messages"])]):
        path = Path(address).expanduser()
        if member is None and _is_readable(path):
            yield DataFile(path, without_ending(path.name))
        else:
            place = folder / str(number)
            found = download([address], place / "data", scratch=place / "scratch", member=member)
            yield DataFile(found.file, found.file.name)


def _is_readable(path: Path) -> bool:
    """Whether this is a file on this machine, and no archive; of one that is damaged the fetching says it."""
    from lib.data.source.compressed import compression_of
    from lib.data.source.data_file import DataFile
    from lib.data.source.kinds import HEAD_BYTES, kind_of

    with suppress(OSError, EOFError, ValueError):
        if path.is_file():
            kind = kind_of(DataFile(path, path.name).head(HEAD_BYTES))
            return kind == "other" or (kind in ("parquet", "workbook") and compression_of(path) is None)
    return False


def _changes(found: Inspected, files: Sequence[str], given: dict[str, str]) -> dict[str, Any]:
    """Returns the fields of the recipe that trains on these files."""
    from flows.terminal.suggested import name_of

    if not files:
        return {}
    one = len(files) == 1
    written = [f"{file}" for file in files]  # without secrets
    place = {"data.url": written[0]} if one else {"data.files": {"train": written}}
    said = {path: value for path, value in given.items() if found.kind != "instructions" or path == "data.member"}
    return {"name": name_of(files[0]), "data.source": "file", **place, **said, **found.changes}


def _some(texts: Sequence[str], most: int) -> Sequence[str]:
    """Returns at most about so many of the texts, at even distances."""
    return texts[:: max(1, -(-len(texts) // most))]


def _lengths(found: Inspected, max_length: int | None) -> Lengths:
    from lib.model.gpt2.sizes import SIZES
    from lib.text.gpt2 import gpt2_tokenizer
    from lib.text.inspection import token_lengths

    contexts = sorted({SIZES[size].context_length for size in ("tiny", "gpt2-small")})
    limits = contexts if max_length is None else [max_length]
    return token_lengths(_some(found.texts, COUNTED), gpt2_tokenizer(), limits)


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
