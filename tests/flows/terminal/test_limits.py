"""Which limit of the machine stands behind an error."""

from __future__ import annotations

import errno
import os

import pytest

from flows.terminal.limits import sentence_of_machine
from lib.errors import StoreError


def raised_during(first: BaseException, then: BaseException) -> BaseException:
    """What is raised while another error is handled."""
    try:
        try:
            raise first
        except type(first):
            raise then from None
    except type(then) as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left to write into "),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/work/part"), "No space left to write into /tmp/work ("),
        (OSError(errno.EIO, "Input/output error"), "does not take what is written (Input/output error): see what"),
        (OSError(errno.EMFILE, "Too many open files"), "raise it (`ulimit -n 1024`) and run again"),
        (MemoryError(), "This machine's free memory is too small for this: end other programs that run here"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "No space left to write into "),
        (RuntimeError("(sqlite3.OperationalError) disk I/O error"), "does not take what is written"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4194304 bytes."), "(4.0 MiB "),
    ],
    ids=["full", "another full", "broken", "files", "memory", "full database", "broken database", "torch"],
)
def test_a_limit_is_one_sentence_also_behind_another_error(error: BaseException, said: str) -> None:
    for each in (error, raised_during(error, RuntimeError("500 Internal Server Error"))):
        assert said in str(sentence_of_machine(each))


def test_what_the_store_said_comes_first() -> None:
    first = StoreError("No space left to write into /a/store (0.0 MiB free): free some space there")
    hidden = raised_during(raised_during(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), first), ValueError("500"))
    assert sentence_of_machine(hidden) is first


@pytest.mark.parametrize("error", [ValueError("mine"), OSError(errno.ENOENT, "No such file"), RuntimeError("mine")])
def test_another_error_is_no_limit(error: BaseException) -> None:
    assert sentence_of_machine(error) is None
