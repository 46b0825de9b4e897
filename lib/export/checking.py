"""What every form of an exported classifier has: its tokenizer, and that it answers as before."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from lib.errors import WeightsError
from lib.files.jsonfile import save_json
from lib.inference.engines.torch_engine import TorchEngine
from lib.model.classifier import Classifier
from lib.model.labels import Probabilities
from lib.text.tokenizer import Tokenizer, load_tokenizer
from lib.text.tokenizer_files import SETTINGS, read_object

CLOSE = 1e-4  # difference of a probability that rounding explains
SHORT = ("ok", "See you at the station at half past five, then!", "Free entry: text WIN to 80082 before Friday 12:30.")


@dataclass(frozen=True)
class Original:
    """A classifier to be exported, as torch computes it in float32 on the CPU."""

    engine: TorchEngine
    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder: Path) -> "Original":
        """Loads a classifier's folder; raises WeightsError as `TorchEngine.load` does."""
        return cls(TorchEngine.load(folder, precision="float32", device="cpu"), load_tokenizer(folder))

    @property
    def classifier(self) -> Classifier:
        return self.engine.classifier

    @property
    def max_length(self) -> int:
        """Tokens kept of each text."""
        return self.engine.usage.max_length

    def encoded(self, texts: list[str]) -> list[list[int]]:
        """Returns the tokens that the classifier reads of each text."""
        return [self.tokenizer.cut(tokens, self.max_length) for tokens in self.tokenizer.encode(texts)]

    def texts(self) -> list[str]:
        """Returns texts of several lengths, the last one longer than what the classifier reads."""
        words = " ".join(SHORT).split()
        return [*SHORT, " ".join(islice(cycle(words), self.max_length + 1))]


def save_tokenizer(original: Original, folder: Path) -> None:
    """Writes the tokenizer, with the length at which texts are cut; the name of a special token in a text is text."""
    original.tokenizer.save(folder, max_length=original.max_length)
    save_json({**read_object(folder / SETTINGS), "split_special_tokens": True}, folder / SETTINGS)


def require_same(original: Original, form: str, ask: Callable[[list[str]], Probabilities]) -> None:
    """Raises `WeightsError` if what was exported gives other probabilities than the classifier, to texts in one batch
    or alone.

    ask: returns the probabilities (texts, classes) of a batch of texts, computed in float32 on the CPU.
    """
    texts = original.texts()
    wanted = original.engine.probabilities(original.encoded(texts))
    together, alone = ask(texts), np.concatenate([ask([text]) for text in texts])
    difference = max(float(np.abs(found - wanted).max()) for found in (together, alone))
    if not difference <= CLOSE:
        raise WeightsError(
            f"the classifier as {form} gives other probabilities than it does here (by {difference:.2g}), so it was not"
            " written: use it with `finetune predict`, `score` or `serve`, or fine-tune other weights"
        )
