"""Settings of a training as plain values; a recipe's section `training` describes and checks the same fields."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """How a model is optimised and measured."""

    epochs: int = 5  # passes over the training split
    batch_size: int = 8  # messages or entries, of each process
    processes: int = 1  # that train together
    sharding: str = "none"  # or "full": each process has its part of weights, gradients and the optimizer's moments
    learning_rate: float = 5e-5  # AdamW's, after warm-up
    weight_decay: float = 0.1  # AdamW's
    schedule: str = "constant"  # or "cosine"
    warmup_steps: int = 0  # optimizer steps
    gradient_clip: float | None = None  # largest norm of all gradients together
    gradient_accumulation: int = 1  # batches of one optimizer step
    seed: int = 123
    evaluate_every: int = 50  # batches between two evaluations
    evaluate_batches: int | None = 5  # batches of each split that an evaluation looks at (None: all)
    checkpoint_every: int = 500  # batches between two checkpoints
    keep: str = "last"  # or "best": the weights with the lowest validation loss
    patience: int | None = None  # epochs without a lower validation loss until the end (None: never)
    precision: str = "float32"  # or "bfloat16"
    device: str = "auto"  # or "cpu", "cuda"
    published_figures: bool = False  # whether to measure what the published procedure prints before and after

    @property
    def whole_batch(self) -> int:
        """Messages or entries of a batch, those of all processes together."""
        return self.batch_size * self.processes

    @property
    def of_each(self) -> str:
        """Says whose batch size it is, where there are several processes."""
        return f", of each of {self.processes} processes" if self.processes > 1 else ""

    def alone(self) -> "Settings":
        """Returns the settings with which one process computes what several do together, but for rounding."""
        return replace(self, batch_size=self.whole_batch, processes=1, sharding="none")

    def procedure(self) -> dict[str, Any]:
        """Returns what a result depends on: everything but the interval of checkpoints."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_every"}
