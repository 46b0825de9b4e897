"""The output of scoring: writes parts, and finds those of earlier runs that are still valid.

A part has the answers for some rows of one input file: `scored/<file>-rows-<first>-<last>.parquet` and, where rows
could not be scored, `unscorable/` with the same name. Both are written elsewhere and appear whole, the unscorable rows
first, so that a visible part is complete. The metadata of both files records what the part was made from, and its
counts.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from lib.evaluation.drift.comparison import Tally
from lib.scoring.places import KINDS, SCORED, UNSCORABLE, Place

RECORD = b"finetune.part"  # of the Parquet file's metadata
LONGEST_STEM = 40  # characters of an input's name in its parts' names
HASH_LENGTH = 10  # digits that distinguish inputs of the same name in different folders
ROWS = re.compile(r"\d+-\d+\.parquet$")  # what the name of a part ends with


class Part(BaseModel):
    """A finished part: rows `first` to `first + rows - 1` of a file; `last` marks the file's last part.

    identity: a hash of all that the answers depend on.
    scored: rows with an answer; `unscorable`: the others, by reason; `labels`: answers by label.
    tally: the counts for drift, if the classifier has a profile.
    """

    model_config = ConfigDict(frozen=True)

    identity: str
    file: str
    first: int
    rows: int
    last: bool
    scored: int
    unscorable: dict[str, int]
    labels: dict[str, int]
    tally: Tally | None

    @property
    def name(self) -> str:
        """The name of both of its files."""
        return f"{prefix(self.file)}{self.first:012}-{self.first + self.rows - 1:012}.parquet"


def prefix(file: str) -> str:
    """Returns what the names of all parts of an input begin with."""
    stem = re.sub(r"[^\w]+", "-", Path(file).name).strip("-")[:LONGEST_STEM]
    return f"{stem}-{hashlib.sha256(file.encode()).hexdigest()[:HASH_LENGTH]}-rows-"


class Output:
    """A place that one run at a time writes parts into."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._earlier: dict[tuple[str, str], list[str]] = {}  # names by kind, and what they begin with

    @property
    def name(self) -> str:
        """The folder's path, or the address."""
        return self._place.name

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Makes the place this run's alone. Raises StoreError if it cannot be used, is locked by another run, or the
        disk is full."""
        with self._place.opened():
            self._earlier = self._listed()
            yield self

    def finished(self, file: str, identity: str) -> dict[int, Part]:
        """Returns an input's parts with this identity, by their first row."""
        parts = [self._read(name) for name in self._earlier.get((SCORED, prefix(file)), [])]
        return {part.first: part for part in parts if part is not None and part.identity == identity}

    def _read(self, name: str) -> Part | None:
        """Returns the part's record; None if it is missing, damaged, or differs between the two folders."""
        part = self._recorded(SCORED, name)
        if part is None or part.name != name:
            return None
        return part if not part.unscorable or self._recorded(UNSCORABLE, name) == part else None

    def _recorded(self, kind: str, name: str) -> Part | None:
        """Returns the record in one of a part's two files; None if it is missing or damaged."""
        try:
            metadata = self._place.metadata(kind, name)
            part = Part.model_validate_json((metadata.metadata or {}).get(RECORD, b""))
            rows = part.scored if kind == SCORED else sum(part.unscorable.values())
            return part if metadata.num_rows == rows else None
        except (OSError, pa.ArrowException, ValidationError):
            return None

    def sweep(self, file: str, parts: Sequence[Part]) -> None:
        """Deletes an input's parts of earlier runs that are not among `parts`."""
        kept = {SCORED: {part.name for part in parts}, UNSCORABLE: {part.name for part in parts if part.unscorable}}
        for kind, names in kept.items():
            for name in self._earlier.get((kind, prefix(file)), []):
                if name not in names:
                    self._place.remove(kind, name)

    def _listed(self) -> dict[tuple[str, str], list[str]]:
        """Lists what earlier runs left, once: an inbox may have very many files."""
        found = defaultdict(list)
        for kind in KINDS:
            for name in self._place.names(kind):
                found[kind, ROWS.sub("", name)].append(name)
        return dict(found)

    @contextmanager
    def writing(self, schemas: Mapping[str, pa.Schema]) -> Iterator[PartWriter]:
        """Opens a part for writing with the schemas of `SCORED` and `UNSCORABLE`; discards it if unpublished."""
        writer = PartWriter(self._place)
        try:
            writer.begin(schemas)
            yield writer
        finally:
            writer.discard()


class PartWriter:
    """A part being written; rows go to disk as they come."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._writers: dict[str, pq.ParquetWriter] = {}

    def begin(self, schemas: Mapping[str, pa.Schema]) -> None:
        """Opens both files."""
        for kind, schema in schemas.items():
            self._writers[kind] = pq.ParquetWriter(self._place.begun(kind), schema, compression="zstd")

    def add(self, kind: str, table: pa.Table) -> None:
        """Writes rows of `SCORED` or `UNSCORABLE` as one row group."""
        if table.num_rows:
            self._writers[kind].write_table(table)

    def publish(self, part: Part) -> None:
        """Publishes the part, replacing an earlier one of the same rows."""
        for kind in (UNSCORABLE, SCORED):  # a part counts as finished once its scored rows exist
            writer = self._writers[kind]
            writer.add_key_value_metadata({RECORD.decode(): part.model_dump_json()})
            writer.close()
            del self._writers[kind]
            if kind == UNSCORABLE and not part.unscorable:
                self._place.remove(kind, part.name)
            else:
                self._place.publish(kind, part.name)

    def discard(self) -> None:
        """Deletes what was not published."""
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError:  # of a full disk, say, which ends the part anyway
                writer.is_open = False  # or it would try again where it is collected, and print a traceback
        for kind in KINDS:
            self._place.begun(kind).unlink(missing_ok=True)
