"""What breaks as messages become more, and at how many.

Each limit is of one component of this project. What a message takes is measured (`pieces.py`, `benchmarks.volume`), or
follows from the code that is named; what there is comes from the machine that is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.scale.case import Case
from benchmarks.scale.measured import TEST, Measured
from benchmarks.scale.storage import CHUNK, MOST_PIECES, artifacts, checkpoint_bytes, feature_bytes
from lib.data.parts import ROWS_PER_PART
from lib.recipes.classifier import Training

DAY = 86_400.0  # seconds that one step may take before somebody gives up
NUMBERED = 100_000  # files of a folder whose names sort as their numbers do: part-00000 to part-99999
TEXT = 90  # bytes of text of a message of benchmarks.volume
GB = 1e9


@dataclass(frozen=True)
class Limit:
    """What ends at how many messages. what: the component, and what becomes of it. because: what grows, in words. then:
    what to do."""

    messages: float
    what: str
    because: str
    then: str


def limits(case: Case, measured: Measured) -> list[Limit]:
    """All limits, the one that is met first before the others."""
    found = [*_of_memory(case, measured), *_of_disk(case, measured), *_of_time(case, measured), *_of_formats(case)]
    return sorted(found, key=lambda each: each.messages)


def _of_memory(case: Case, measured: Measured) -> Sequence[Limit]:
    room, pieces = case.machine.memory * GB - measured.empty, measured.pieces
    published, evaluated = (measured.each(step, "anonymous") for step in ("publish", "evaluate"))
    holds = (
        (
            "`split` ends for lack of memory with `split.method: published`, which a recipe has if it says nothing",
            pieces["drawn"]["memory"] + case.text - TEXT,
            f"{pieces['drawn']['memory']:,.0f} bytes of a message with {TEXT} of text: the whole table, shuffled",
            "`split.method: hashed`, which holds a part",
        ),
        (
            "`publish` ends for lack of memory",
            published,
            f"{published:,.0f} bytes of a message, as it grew up to 10 million",
            "a machine with more memory",
        ),
        (
            "`evaluate` ends for lack of memory",
            evaluated,
            f"{evaluated:,.0f} bytes of a message, as it grew up to 10 million; what is measured from lies in files",
            "a machine with more memory",
        ),
        (
            "`finetune` ends for lack of memory",
            case.train * pieces["training"]["memory"],
            f"{pieces['training']['memory']:,.0f} bytes of a training message: target, id, length, the epoch's order",
            "more machines do not help: each has the whole order",
        ),
        (
            "`holdout` and `decide` end for lack of memory",
            (case.train + case.validation) * pieces["near"]["memory"],
            f"{pieces['near']['memory']:,.0f} bytes of a message of train and validation: keys of near-duplicates",
            "a machine with more memory",
        ),
    )
    return [Limit(room / each, what, because, then) for what, each, because, then in holds if each > 0]


def _of_disk(case: Case, measured: Measured) -> Sequence[Limit]:
    room, kept = case.machine.disk * GB, artifacts(case, features=False)
    every = sum(each.each for each in kept)
    searched = measured.pieces["search"]["memory"]
    return [
        Limit(
            room / every,
            "the store's disk is full",
            f"{every:,.0f} bytes of a message in {len(kept)} artifacts, each with its own copy of the text",
            "a store in a bucket, whose cache has `FINETUNE_CACHE_SIZE`; one machine still needs the largest artifact",
        ),
        Limit(
            room / (kept[1].each + searched),
            "`messages` and `split`: the scratch folder is full",
            f"{searched:,.0f} bytes of a message that DuckDB spills, beside the table itself",
            "more disk, or `FINETUNE_TABLE_MEMORY`",
        ),
        Limit(
            Training.model_fields["feature_budget"].default * 2**30 / feature_bytes(case),
            "features are no longer kept (`training.feature_budget`); nothing breaks",
            f"{feature_bytes(case):,.0f} bytes of a message",
            "each epoch runs the frozen blocks again; a larger budget pays only while a file has less than 50 GiB",
        ),
    ]


def evaluation_seconds(case: Case, measured: Measured) -> float:
    """What an evaluation takes of a core for each message, besides its predictions."""
    numbers, answers, profile = (measured.pieces[name]["seconds"] for name in ("evaluation", "answered", "profile"))
    return numbers + case.test * answers + profile


def _of_time(case: Case, measured: Measured) -> Sequence[Limit]:
    """Steps that run in one process, on one core."""
    publish = measured.each("publish", "processor") * case.test / TEST
    slow = (
        ("`evaluate` takes a day", evaluation_seconds(case, measured), "slices, baseline and profile, text by text"),
        ("publishing takes a day", publish, "files read again for their checksums, texts looked up in dictionaries"),
        ("`messages` takes a day", measured.each("messages", "processor"), "rows parsed, normalised and hashed"),
        ("`split` takes a day", measured.each("split", "processor"), "rows placed by their keys"),
    )
    return [
        Limit(DAY / each, what, f"{each * 1e6:,.1f} us of a message on one core: {why}", _PARTS)
        for what, each, why in slow
        if each > 0
    ]


_PARTS = "parts on several machines, where the step has them; otherwise a smaller `split.test`"


def _of_formats(case: Case) -> Sequence[Limit]:
    source, weights = artifacts(case)[0].each, checkpoint_bytes(replace(case, messages=0))
    return [
        Limit(
            CHUNK * MOST_PIECES / source,
            "`download` cannot be sent to a bucket",
            f"the source is one object, sent in {MOST_PIECES:,} pieces of 5 MiB at most",
            "a source in several files (`data.files`), or a store in a folder",
        ),
        Limit(
            CHUNK * MOST_PIECES / feature_bytes(case) / max(case.train, case.validation, case.test),
            "features that a larger `training.feature_budget` keeps cannot be sent to a bucket",
            "one file of a split, sent in as many pieces",
            "`training.feature_cache: off`",
        ),
        Limit(
            10 * GB / 8 / case.train,
            "a checkpoint has 10 GB",
            f"8 bytes of a training message, the epoch's order, beside {weights / GB:,.1f} GB of weights and moments",
            "a larger `training.checkpoint_every`",
        ),
        Limit(
            NUMBERED * ROWS_PER_PART,
            "a table's parts are read in another order than they were written",
            "files are called part-00000 to part-99999, and sorted by name",
            "none: rows would stand beside others' targets",
        ),
        Limit(
            math.sqrt(2.0**65),
            "two different texts are taken for near-duplicates",
            "their keys have 64 bits where known texts are kept apart: one pair is expected at so many",
            "one message leaves training for nothing",
        ),
        Limit(
            2.0**40, "rows of two splits are confused where duplicates are searched", "ids have 40 bits there", "none"
        ),
    ]
