"""Lets steps ask questions about tables of any size, within the memory that this machine gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lib.data.queries import MEMORY, Queries
from lib.errors import ServiceError
from lib.files.disk import remove

if TYPE_CHECKING:
    from tasks.engine.step import Work

VARIABLE = "FINETUNE_TABLE_MEMORY"
LEAST = 64  # megabytes, with which a million rows can be sorted


def table_memory() -> int:
    """Returns the megabytes that a search in a table may take. Raises ServiceError if the setting is no such number."""
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return MEMORY
    if not value.isdecimal() or int(value) < LEAST:
        raise ServiceError(f"{VARIABLE} is {value!r}, but must be a number of megabytes, at least {LEAST}")
    return int(value)


@contextmanager
def asking(work: Work[Any]) -> Iterator[Queries]:
    """Yields what answers questions about tables. What does not fit into memory lies in the step's scratch folder."""
    folder = work.scratch / "queries"
    if folder.exists():  # of a process that was killed
        remove(folder)
    with Queries(folder, megabytes=table_memory()) as queries:
        yield queries
