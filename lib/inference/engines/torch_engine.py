"""A saved classifier computed by torch, on a CPU or a GPU, in float32 or bfloat16."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.inference.engines.engine import TORCH
from lib.model.classifier import Classifier, begin_probabilities, load_classifier
from lib.model.labels import Probabilities
from lib.model.machine.device import device_name
from lib.model.usage import Usage, load_usage
from lib.progress import Progress, silent
from lib.text.windows import Tokens, Windows


@dataclass(frozen=True)
class TorchEngine:
    """An `Engine`. Padding, length and precision are those of `usage`; `device`: "auto", "cpu" or "cuda"."""

    classifier: Classifier
    usage: Usage
    device: str = "auto"
    name: str = TORCH

    @classmethod
    def load(cls, folder: Path, *, precision: str | None = None, device: str = "auto") -> "TorchEngine":
        """Loads what `save_classifier` wrote; `precision` None: that of the training. Raises WeightsError if a file is
        missing, damaged or does not fit the others."""
        usage = load_usage(folder)
        if precision is not None:
            usage = replace(usage, precision=precision)
        return cls.of(load_classifier(folder), usage, device)

    @classmethod
    def of(cls, classifier: Classifier, usage: Usage, device: str = "auto") -> "TorchEngine":
        """Returns the engine of a classifier, whose layers are changed to bfloat16 if they compute in it: once, where
        autocast would do it for every batch."""
        if usage.precision == "bfloat16":
            for module in classifier.modules():
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)
        return cls(classifier, usage, device)

    @property
    def precision(self) -> str:
        return self.usage.precision

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classifier.labels

    @property
    def on_card(self) -> bool:
        return device_name(self.device) == "cuda"

    def probabilities(
        self, texts: Sequence[Tokens | Tensor] | Windows[Any], *, progress: Progress = silent
    ) -> Probabilities:
        """As `Engine.probabilities`, also of features that enter the classifier's block `cut`; raises what
        `class_probabilities` raises."""
        return self.begin(texts, progress=progress)()

    def begin(
        self, texts: Sequence[Tokens | Tensor] | Windows[Any], *, progress: Progress = silent
    ) -> Callable[[], Probabilities]:
        """As `probabilities`, but returns what waits for them."""
        return begin_probabilities(
            self.classifier,
            texts,
            padding=self.usage.padding,
            max_length=self.usage.max_length,
            device=self.device,
            precision=self.usage.precision,
            progress=progress,
        )
