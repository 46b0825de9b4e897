"""A process's place among those that train together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Which of `size` processes this is.

    local_rank, local_size: the same among those of this machine. device: "cpu" or "cuda".
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment's names for it, which torchrun chose and Accelerate reads."""
        return {
            "RANK": f"{self.rank}",
            "WORLD_SIZE": f"{self.size}",
            "LOCAL_RANK": f"{self.local_rank}",
            "LOCAL_WORLD_SIZE": f"{self.local_size}",
        }
