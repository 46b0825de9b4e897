"""The processes that train one model together, as each of them sees it: data-parallel, in step.

Each computes its share of every batch; gradients are those of the whole batch. The first process draws, measures and
keeps what is kept. `lib.training.distributed` has teams of several.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lib.processes.stopping import Held, signals_held

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")


class Team(Protocol):
    """This process among those that train together. All of them call the same methods in the same order."""

    @property
    def size(self) -> int:
        """How many processes there are."""

    @property
    def rank(self) -> int:
        """Which one this is, from 0, the first."""

    def share(self, rows: list[int]) -> list[int]:
        """Returns what this process computes of a batch; nothing, perhaps, of one with fewer rows than processes."""

    def first(self, make: Callable[[], Result]) -> Result:
        """Returns in all processes what the first one made; the others make nothing."""

    def first_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns in all processes the first one's tensors (on the CPU)."""

    def all(self, value: Result) -> list[Result]:
        """Returns in all processes what each of them has, by rank."""

    def any_asked(self, asked: bool) -> bool:
        """Whether any process has been asked to stop; true in all of them after the same optimizer step, which may be
        the next one."""

    def asked(self) -> AbstractContextManager[Held]:
        """Lets wishes to stop wait inside the block (see `lib.processes.stopping`)."""

    def saved(self, folder: Path) -> None:
        """Is told by the first process of each new checkpoint, which lies in the folder."""

    def handlers(self) -> list[Any]:
        """What Accelerate is to be told of the processes."""


class Alone:
    """A team of one."""

    size, rank = 1, 0

    def share(self, rows: list[int]) -> list[int]:
        """All of them."""
        return rows

    def first(self, make: Callable[[], Result]) -> Result:
        """Makes it."""
        return make()

    def first_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same."""
        return tensors

    def all(self, value: Result) -> list[Result]:
        """The one value."""
        return [value]

    def any_asked(self, asked: bool) -> bool:
        """Whether this process has been."""
        return asked

    def asked(self) -> AbstractContextManager[Held]:
        """Heeds this process's signals."""
        return signals_held()

    def saved(self, folder: Path) -> None:
        """Nobody else needs it."""

    def handlers(self) -> list[Any]:
        """Nothing."""
        return []


ALONE = Alone()
