"""What each process of a training is to do, as plain values that reach any machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from lib.progress import Listener

if TYPE_CHECKING:
    from lib.training.team import Team

Work = Callable[[dict[str, Any], "Team", Listener], None]


@dataclass(frozen=True)
class Job:
    """A function, as `module:name`, that each process calls with the arguments (JSON-able), its team and its listener.

    size: how many processes. device: "cpu" or "cuda".
    """

    function: str
    arguments: dict[str, Any]
    size: int
    device: str

    def do(self, team: Team, listener: Listener) -> None:
        """Does this process's part."""
        work: Work = resolve_name(self.function)
        work(self.arguments, team, listener)

    def json(self) -> dict[str, Any]:
        """The job as JSON holds it."""
        return asdict(self)
