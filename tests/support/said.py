"""What a command says on standard error, and what a server logs."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flows.http.logs import LOGGERS, log_as_json

Lines = Callable[[], list[dict[str, Any]]]  # what was logged so far, one JSON object a line


def after_the_first_line(said: str) -> str:
    """What comes after the line that says what is about to happen, which must be there."""
    first, _, rest = said.partition("\n")
    assert re.fullmatch(r"finetune \w+( \w+)?: \S.*", first), f"no line says what is about to happen: {said}"
    return rest


@contextmanager
def logging_to(*, texts: bool = False) -> Iterator[Lines]:
    """What is logged while the block runs; logging is as before when it ends."""
    stream = io.StringIO()
    before = [(each, {**vars(each)}) for each in map(logging.getLogger, LOGGERS)]
    log_as_json(stream, texts=texts)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for logger, state in before:
        vars(logger).update(state)
