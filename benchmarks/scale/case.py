"""What is simulated: how many messages of which length, on which machines, at which prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.scale.network import Backbone, backbone

DATED = "2025"  # when the prices were written down; look them up before you rely on them
# What a whole network reaches: an H200 classified 54,000 messages of 30 tokens a second with GPT-2 124M in bfloat16
# (RUN_TOKENS in lib/text/batching.py), which is this share of its fastest product. A training in large batches was not
# measured, and is taken to reach the same. No process was seen to feed a card with more messages.
UTILISATION, FED = 0.36, 54_000


def _says(default: float, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster; each worker is one."""

    memory: float = _says(64.0, "GB of memory of a machine")
    disk: float = _says(1000.0, "GB of disk of a machine")
    cores: int = _says(16, "cores of a machine")
    cards: int = _says(1, "cards of a machine")
    utilisation: float = _says(UTILISATION, "share of a card's fastest matrix product that a whole network reaches")
    network: float = _says(1.25, "GB a second between a machine and the storage: 10 Gbit/s")
    reads: float = _says(16_000.0, "random reads a second of the disk that a training reads tokens from")


@dataclass(frozen=True)
class Prices:
    """US dollars. Storage and its requests: Amazon S3 Standard, us-east-1; a core: half of a c7i.large on demand there;
    a card: a round number, no list price."""

    put: float = _says(0.005 / 1000, "a request that writes or lists (PUT, POST, LIST)")
    get: float = _says(0.0004 / 1000, "a request that reads (GET)")
    stored: float = _says(0.023, "a GB and month of storage")
    core: float = _says(0.0446, "an hour of a core")
    card: float = _says(4.0, "an hour of a card")


@dataclass(frozen=True)
class Case:
    """A run, with the shares that a recipe has where it says nothing. letters: bytes of text of a token."""

    messages: float = _says(1e9, "messages")
    tokens: float = _says(30.0, "tokens of a message")
    letters: float = _says(4.0, "bytes of text of a token: English in GPT-2's encoding has about four")
    classes: int = _says(2, "labels")
    epochs: int = _says(1, "epochs of a training")
    workers: int = _says(1, "machines")
    train: float = _says(0.7, "share of the messages that is learned from")
    validation: float = _says(0.1, "share that chooses the epoch; the rest is tested with")
    network: Backbone = field(default_factory=lambda: backbone("gpt2"))
    machine: Machine = field(default_factory=Machine)
    prices: Prices = field(default_factory=Prices)

    @property
    def text(self) -> float:
        """Bytes of a message's text."""
        return self.tokens * self.letters

    @property
    def test(self) -> float:
        """The share that is tested with."""
        return 1 - self.train - self.validation


def numbers(kind: type) -> Sequence[Any]:
    """The fields of a dataclass that are numbers with a sentence, for flags."""
    return [each for each in fields(kind) if "help" in each.metadata]
