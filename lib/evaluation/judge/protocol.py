"""The interface of a judge's server, whichever protocol it speaks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Messages = Sequence[Mapping[str, str]]  # each with `role` ("user" or "assistant") and `content`
Ask = Callable[[Messages], Awaitable[str]]  # returns the reply's text, or raises AskError

AGAIN_LATER = "run the judge step again later"


class AskError(Exception):
    """A question that got no reply: `what` happened, and the `remedy`.

    temporary: a retry may help. everyone: other questions would fail too. wait: seconds that the server asks to wait.
    """

    def __init__(
        self,
        what: str,
        remedy: str = AGAIN_LATER,
        *,
        temporary: bool = False,
        everyone: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(f"{what}: {remedy}")
        self.temporary = temporary
        self.everyone = everyone
        self.wait = wait


class JudgeServer(Protocol):
    """A model behind an address. The cache key of its replies is `api`, `model` and `options`, not the address."""

    @property
    def api(self) -> str:
        """The provider of the protocol."""

    @property
    def model(self) -> str:
        """The model's name on the server."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Generation options as the protocol names them; JSON values."""

    def open(self) -> AbstractAsyncContextManager[Ask]:
        """Opens connections for one run. `Ask` may be called concurrently."""
