"""Says what an engine does: tokens in, probabilities out; without torch."""

from collections.abc import Callable
from typing import Protocol

from lib.model.labels import Probabilities
from lib.progress import Progress, silent
from lib.text.windows import Texts

TORCH, ONNXRUNTIME = "torch", "onnxruntime"  # the names of engines
REFERENCE = f"{TORCH} float32"  # what every other way to compute a classifier is compared with

ALIKE = 3e-6  # how far a text's probability may move with the texts that are asked beside it


class Engine(Protocol):
    """A saved classifier at work.

    name: what computes. precision: of its matrix products. labels: in the order of the probabilities. on_card: whether
    a card computes, so that the processor may do something else meanwhile.
    """

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def on_card(self) -> bool: ...

    def probabilities(self, texts: Texts, /, *, progress: Progress = silent) -> Probabilities:
        """Returns the class probabilities (texts, classes) float64 of the tokens of texts, or of their windows, in
        their order.

        Rows are sorted into batches by length; in float32 and int8 none moves another's probability by more than
        rounding, 3e-6. Raises `MessagesError` for a text without tokens. Not to be called by two threads at once.
        """
        ...

    def begin(self, texts: Texts, /) -> Callable[[], Probabilities]:
        """As `probabilities`, but returns what waits for them; a card computes meanwhile."""
        ...
