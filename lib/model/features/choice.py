"""Chooses whether a run's features are kept, and says why.

The choice needs no torch and ignores the state of the machine, so that a recipe makes the same choice tomorrow.
"""

from dataclasses import dataclass

from lib.errors import RecipeError

ITEM_SIZE = {"float32": 4, "bfloat16": 2}  # bytes
GIB = 2**30


@dataclass(frozen=True)
class FeatureChoice:
    """`keep` says whether features are kept; `reason` says why, in one phrase."""

    keep: bool
    reason: str

    def __str__(self) -> str:
        return f"{'kept' if self.keep else 'not kept'}: {self.reason}"


@dataclass(frozen=True)
class FrozenPart:
    """The frozen part of a classifier: all but the last `learning_blocks` blocks (None: nothing is frozen)."""

    n_layers: int
    learning_blocks: int | None
    pooling: str
    dropout: float  # probability, while training
    uncut: str | None = None  # why the network cannot be cut

    def obstacle(self) -> str | None:
        """Why its activations cannot be kept; None if they can."""
        if self.uncut:
            return f"the network cannot be cut: {self.uncut}"
        if self.learning_blocks is None:
            return "every block learns, so nothing stays the same between epochs"
        if self.pooling == "padded_last":
            return "classifier.pooling is padded_last, which reads the padding, and features are those of real tokens"
        if self.dropout > 0:
            return "model.dropout changes the frozen part's activations in every pass"
        if self.learning_blocks >= self.n_layers:
            return f"all {self.n_layers} blocks learn"
        return None


@dataclass(frozen=True)
class FeatureSize:
    """The disk space of features: `emb_dim` numbers of type `dtype` for each token of all splits."""

    tokens: int
    emb_dim: int
    dtype: str

    @property
    def gib(self) -> float:
        return self.tokens * self.emb_dim * ITEM_SIZE[self.dtype] / GIB

    def __str__(self) -> str:
        return f"{self.gib:.2f} GiB for {self.tokens:,} tokens in {self.dtype}"


def choose_features(
    setting: str, part: FrozenPart, size: FeatureSize, *, epochs: int, budget_gib: float
) -> FeatureChoice:
    """Decides the recipe's `training.feature_cache` (auto, on or off).

    budget_gib: disk space that one run's features may take, in GiB; `on` ignores it. Even with one epoch the frozen
    part runs more than once (training and evaluation), so features pay wherever they can be used.

    Raises `RecipeError` if the setting is `on` and no block is frozen; the recipe's checks refuse the other conflicts.
    """
    if setting == "off":
        return FeatureChoice(False, "training.feature_cache is off")
    learning = part.learning_blocks
    if setting == "on" and learning is not None and learning >= part.n_layers:
        raise RecipeError(
            f"training.feature_cache is 'on', but the model has {part.n_layers} blocks and the last {learning} learn,"
            " so nothing is frozen: choose 'auto', or let fewer blocks learn"
        )
    if obstacle := part.obstacle():
        return FeatureChoice(False, obstacle)
    assert learning is not None
    if setting == "auto" and size.gib > budget_gib:
        return FeatureChoice(False, f"{size} is over training.feature_budget, {budget_gib:g} GiB")
    often = f"{epochs} epochs" if epochs > 1 else "training and again in evaluation"
    frozen = part.n_layers - learning
    return FeatureChoice(True, f"{frozen} of {part.n_layers} blocks run once instead of in {often}; {size}")
