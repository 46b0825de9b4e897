"""Looks at the entries of a source that holds instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.data.duplicates import normalise
from lib.data.entries.shapes import Shape
from lib.data.entries.values import EmptyError
from lib.data.inspection.labelled import LeftOut
from lib.data.inspection.part import beginning
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How, open_source, read
from lib.data.source.rows import Form
from lib.errors import MessagesError

ROWS = 20_000  # read
BYTES = 8 * 2**20


@dataclass
class Instructions:
    """The entries that were read.

    rows: how many. texts: the question and answer of each that can be learned from. empty: those with nothing to learn.
    unreadable: those that cannot be read. refused: those that a run stops at; refusal: what it says of the first.
    conversations: those of several turns. repeated: questions that another entry asks too, but for case, digits,
    punctuation and space.
    """

    form: Form
    shape: str
    rows: int = 0
    texts: list[str] = field(default_factory=list)
    empty: list[LeftOut] = field(default_factory=list)
    unreadable: list[LeftOut] = field(default_factory=list)
    refused: list[LeftOut] = field(default_factory=list)
    refusal: str | None = None
    conversations: int = 0
    repeated: int = 0
    is_all: bool = True


def read_instructions(files: Sequence[DataFile], how: How, shape: Shape, *, most: int = ROWS) -> Instructions:
    """Reads at most about `most` entries; `files` are one or more."""
    parts = [beginning(file, BYTES) for file in files]
    found = Instructions(open_source(parts[0], how, {}).form, shape.name)
    asked: set[str] = set()
    for part in parts:
        if found.rows >= most:
            found.is_all = False
            break
        found.is_all = found.is_all and part.end is None
        for batch in read(part, how, open_source(part, how, {}).records()):
            for offset, record in enumerate(batch.records):
                line = batch.lines[offset] if batch.lines else None
                wrong = batch.unreadable.get(offset)
                place = LeftOut(part.name, found.rows + offset, line, wrong.reason if wrong else "")
                _take(found, place, record, shape, asked)
            found.rows += len(batch.records)
            if found.rows >= most:
                found.is_all = False
                break
    return found


def _take(found: Instructions, row: LeftOut, record: Mapping[str, Any] | None, shape: Shape, asked: set[str]) -> None:
    if record is None:
        found.unreadable.append(row)
        return
    where = f"{row.file}, entry {row.row + 1}"
    try:
        entry = shape.entry(where, record)
    except EmptyError as error:
        found.empty.append(row._replace(reason=error.reason))
        return
    except MessagesError as error:
        found.refusal = found.refusal or str(error)
        found.refused.append(row._replace(reason=str(error).removeprefix(f"{where}: ")))
        return
    question = normalise(f"{entry.instruction}\n{entry.input}")
    found.repeated += question in asked
    asked.add(question)
    found.conversations += bool(entry.earlier)
    found.texts.append("\n".join(filter(None, (entry.instruction, entry.input, entry.output))))
