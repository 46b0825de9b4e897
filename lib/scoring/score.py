"""Scores files part by part, with one window of texts in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lib.cluster.cluster import HERE, Cluster, paired
from lib.evaluation.drift.comparison import Tallier
from lib.progress import Progress, silent
from lib.scoring.answering import Answers, Question, answer, loaded
from lib.scoring.copies import Copies
from lib.scoring.inputs import Identity, InputFile
from lib.scoring.parts import Output, Part, PartWriter
from lib.scoring.places import SCORED, UNSCORABLE
from lib.scoring.reading import check_file, count_rows, read_rows
from lib.scoring.result import Model, Result
from lib.scoring.rows import Columns, Row
from lib.store.artifacts import key_of

if TYPE_CHECKING:
    from lib.evaluation.drift.profile import DriftProfile
    from lib.inference.predictor import Predictor

LAYOUT = 1  # of the parts; increase it to invalidate parts of earlier versions of this project
WINDOW_ROWS = 4096  # rows in memory at once, as the predictor takes them
WINDOW_CHARACTERS = 8 * 2**20  # the limit for long rows


def score(
    files: Sequence[InputFile],
    output: Output,
    *,
    model: Model,
    predictor: Callable[[], Predictor],
    profile: DriftProfile | None,
    columns: Columns,
    part_rows: int,
    cache_size: int = 0,
    cluster: Cluster = HERE,
    progress: Progress = silent,
) -> Result:
    """Scores every row of `files` into `output`, which is open; valid parts of earlier runs are kept.

    Checks the beginning of every file first. A part is valid if the file's name and contents, the classifier, the
    columns and the part size are the same. After a file is done, its invalid parts are deleted.

    Args:
        predictor: loads the classifier, once in a process, and only if there is anything to score.
        profile: the drift profile; None: no tally of drift.
        part_rows: rows per part, except a file's last one.
        cache_size: bytes of copies of objects that are kept between the first look at them and their turn.
        cluster: where windows of texts are answered; other processes must be able to load the classifier.

    Raises:
        MessagesError: a file is unreadable or lacks a column; finished parts stay.
        SourceError: a file cannot be opened, or has changed meanwhile.
    """
    with Copies(cache_size) as copies:
        scoring = _Scoring(output, model, predictor, profile, columns, part_rows, cluster, progress, copies)
        scoring.look_at(files)
        try:
            for file in files:
                scoring.score_file(file)
        finally:
            loaded.cache_clear()
    return scoring.result


class _Scoring:
    """The work of one job, file by file."""

    def __init__(
        self,
        output: Output,
        model: Model,
        predictor: Callable[[], Predictor],
        profile: DriftProfile | None,
        columns: Columns,
        part_rows: int,
        cluster: Cluster,
        progress: Progress,
        copies: Copies,
    ) -> None:
        self.result = Result()
        self._output, self._model, self._columns, self._part_rows = output, model, columns, part_rows
        self._predictor, self._profile, self._cluster = predictor, profile, cluster
        self._progress, self._copies = progress, copies
        self._total: int | None = None  # rows of all files, if they are known without reading them
        self._schemas = schemas(model.labels, with_id=columns.id is not None)

    def look_at(self, files: Sequence[InputFile]) -> None:
        """Reads the beginning of every file; an object whose parts are all finished is not fetched for that."""
        counts: list[int | None] = []
        for file in files:
            rows = None if file.state is None else self._finished_rows(file)
            if rows is None:
                here = self._copies.bring(file)
                check_file(here, self._columns)
                rows = count_rows(here, self._columns)
                self._copies.keep(file)
            counts.append(rows)
        self._total = None if None in counts else sum(count for count in counts if count is not None)

    def _finished_rows(self, file: InputFile) -> int | None:
        """The rows of a file of which all parts are finished; None: some are not."""
        finished = self._output.finished(file.name, self._identity(file, Identity.of(file)))
        rows = 0
        while (part := finished.get(rows)) is not None:
            rows += part.rows
            if part.last:
                return rows
        return None

    def score_file(self, file: InputFile) -> None:
        """Keeps or makes a file's parts, in order."""
        contents = Identity.of(file)
        identity = self._identity(file, contents)
        finished = self._output.finished(file.name, identity)
        parts: list[Part] = []
        rows: _Rows | None = None
        first = 0
        while not (parts and parts[-1].last):
            part = finished.get(first)
            kept = part is not None
            if part is None:
                if rows is None:
                    rows = _Rows(read_rows(self._copies.bring(file), self._columns, start=first))
                if not rows.any_left():
                    break  # a file without rows
                part = self._make(rows, file, first, identity, contents)
            else:
                rows = None
            parts.append(part)
            self.result.add(part, kept=kept)
            self._progress(self.result.rows, self._total, "messages")
            first += part.rows
        self._copies.drop(file)
        self._output.sweep(file.name, parts)
        self.result.files += 1

    def _identity(self, file: InputFile, contents: Identity) -> str:
        return key_of(
            {
                "layout": LAYOUT,
                "file": file.name,
                "sha256": contents.contents,
                "format": [file.format, file.said],
                "columns": astuple(self._columns),
                "part_rows": self._part_rows,
                "model": [self._model.name, self._model.version, self._model.identity],
            }
        )

    def _make(self, rows: _Rows, file: InputFile, first: int, identity: str, contents: Identity) -> Part:
        """Writes and publishes the next part."""
        count, scored = 0, 0
        labels = np.zeros(len(self._model.labels), dtype=np.int64)
        reasons: Counter[str] = Counter()
        tally = None if self._profile is None else Tallier(self._profile).nothing()
        with self._output.writing(self._schemas) as writer:
            windows = _windows(islice(rows, self._part_rows))
            for window, answers in paired(self._cluster, answer, windows, self._question):
                self._write(writer, file, window, answers)
                reasons.update(row.reason for row in window if row.reason is not None)
                if answers is not None:
                    labels += np.bincount(answers.given, minlength=len(labels))
                    scored += len(answers.given)
                    tally = tally.plus(answers.tally) if tally and answers.tally else tally
                count += len(window)
                self._progress(self.result.rows + count, self._total, "messages")
            part = Part(
                identity=identity,
                file=file.name,
                first=first,
                rows=count,
                last=not rows.any_left(),
                scored=scored,
                unscorable=dict(sorted(reasons.items())),
                labels=dict(zip(self._model.labels, labels.tolist(), strict=True)),
                tally=tally,
            )
            contents.require_unchanged(file)
            writer.publish(part)
        return part

    def _question(self, window: Sequence[Row]) -> Question:
        return Question([row.text for row in window if row.text is not None], self._predictor, self._profile)

    def _write(self, writer: PartWriter, file: InputFile, window: Sequence[Row], answers: Answers | None) -> None:
        """Writes a window; `answers` are those of its scorable rows, in order, if there are any."""
        if answers is not None:
            writer.add(SCORED, self._scored(file, [row for row in window if row.text is not None], answers))
        writer.add(UNSCORABLE, self._unscorable(file, [row for row in window if row.text is None]))

    def _scored(self, file: InputFile, rows: Sequence[Row], answers: Answers) -> pa.Table:
        shares = answers.probabilities
        columns = {
            "file": pa.repeat(file.name, len(rows)),
            "row": [row.number for row in rows],
            "id": [row.id for row in rows],
            "label": pa.array(self._model.labels, pa.string()).take(pa.array(answers.given)),
            "probability": shares[np.arange(len(rows)), answers.given],
            **{f"probability_{label}": shares[:, at] for at, label in enumerate(self._model.labels)},
            "model_name": pa.repeat(self._model.name, len(rows)),
            "model_version": pa.repeat(self._model.version, len(rows)),
        }
        return _table(columns, self._schemas[SCORED])

    def _unscorable(self, file: InputFile, rows: Sequence[Row]) -> pa.Table:
        columns = {
            "file": [file.name] * len(rows),
            "row": [row.number for row in rows],
            "line": [row.line for row in rows],
            "id": [row.id for row in rows],
            "reason": [row.reason for row in rows],
        }
        return _table(columns, self._schemas[UNSCORABLE])


def schemas(labels: Sequence[str], *, with_id: bool) -> dict[str, pa.Schema]:
    """Returns the columns of scored and of unscorable rows.

    file, row: the input's name, and the row's number from 0. id: the user's own, as text, if asked for.
    probability: that of `label`. probability_<label>: that of each label.
    line: where the row begins, from 1, in formats that have lines.
    """
    text, number, share = pa.string(), pa.int64(), pa.float64()
    which = {"file": text, "row": number}
    own = {"id": text} if with_id else {}
    shares = {"probability": share, **{f"probability_{label}": share for label in labels}}
    return {
        SCORED: pa.schema({**which, **own, "label": text, **shares, "model_name": text, "model_version": text}),
        UNSCORABLE: pa.schema({**which, "line": number, **own, "reason": text}),
    }


def _table(columns: Mapping[str, object], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(columns[column.name], type=column.type) for column in schema], schema=schema)


def _windows(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Groups rows into windows that fit into memory."""
    window: list[Row] = []
    characters = 0
    for row in rows:
        window.append(row)
        characters += len(row.text or "")
        if len(window) == WINDOW_ROWS or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


class _Rows:
    """An iterator over rows that can tell whether any are left."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        if self._next is None:
            raise StopIteration
        row, self._next = self._next, next(self._rows, None)
        return row

    def any_left(self) -> bool:
        return self._next is not None
