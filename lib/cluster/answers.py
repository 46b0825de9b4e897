"""What a worker answers: a result, or an error so that it can be raised where the step runs."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from lib.errors import ClusterError, FinetuneError

CORRECTABLE = (FinetuneError, MemoryError)  # which come through as they are


@dataclass(frozen=True)
class Answer:
    """A result; or an error that comes through as it is, or the words of another one."""

    result: Any = None
    error: BaseException | None = None
    words: str = ""
    trace: str = ""

    def unwrapped(self) -> Any:
        """Returns the result, or raises the error."""
        if self.error is not None:
            raise self.error
        if self.words:
            self._fail()
        return self.result

    def _fail(self) -> NoReturn:
        error = ClusterError(
            f"a part failed in a worker ({self.words}): run again, and if it stays so, with cluster.workers 1 and"
            " cluster.kind local, which says more"
        )
        error.add_note(self.trace)
        raise error


def answered(function: Callable[[Any], Any], item: Any) -> Answer:
    """Calls the function; whatever it raises is in the answer."""
    try:
        return Answer(function(item))
    except CORRECTABLE as error:
        return Answer(error=error)
    except Exception as error:
        return Answer(words=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
