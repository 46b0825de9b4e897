"""What `judge` needs to know of a server, whichever protocol it speaks.

Here belong the shapes of questions and servers, and a question that got no reply. The servers themselves are in
`servers.py`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Messages = Sequence[Mapping[str, str]]  # each with `role` ("user" or "assistant") and `content`
Ask = Callable[[Messages], Awaitable[str]]  # brings the reply's text, or raises AskError

AGAIN_LATER = "run the judge step again later"


class AskError(Exception):
    """A question that got no reply. `what` happened, and what to do about it, the `remedy`.

    temporary: trying again may help.
    everyone: other questions would meet the same.
    wait: seconds that the server wants to be left alone.
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
    """A model behind an address. Where it runs is not part of what it is: replies are kept by the first three."""

    @property
    def api(self) -> str:
        """Whose protocol it speaks."""

    @property
    def model(self) -> str:
        """The model's name there."""

    @property
    def options(self) -> Mapping[str, Any]:
        """How the model generates, as the protocol names it; JSON values."""

    def open(self) -> AbstractAsyncContextManager[Ask]:
        """Connections for the questions of one run. `Ask` may be called many times at once."""
