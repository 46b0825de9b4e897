"""Whether the features of a run are computed once and kept, or in every pass: the choice, and its reason in words.

Here belongs the choice alone, without torch, because it is made while a run is planned. It does not look at the state
of the machine (free disk, free memory), so that a recipe makes the same choice tomorrow.
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


def choose_features(
    setting: str,
    *,
    learning_blocks: int | None,
    pooling: str,
    dropout: float,
    emb_dim: int,
    n_layers: int,
    tokens: int,
    dtype: str,
    epochs: int,
    budget_gib: float,
) -> FeatureChoice:
    """What the recipe's `training.feature_cache` (auto, on or off) comes to.

    learning_blocks: how many of the last blocks learn (None: all). tokens: in all splits together. budget_gib: what a
    run's features may take of the disk, in GiB; `on` exceeds it.

    Training passes its split in each epoch, and the evaluation passes every split once more; so even one epoch runs the
    frozen part more often than once, and features pay wherever they can be used at all.

    Raises `RecipeError` if the setting is `on` and the model has no block that is frozen; what else stands against it
    is refused where the recipe is read.
    """
    if setting == "off":
        return FeatureChoice(False, "training.feature_cache is off")
    if obstacle := features_obstacle(learning_blocks, pooling=pooling, dropout=dropout):
        return FeatureChoice(False, obstacle)
    assert learning_blocks is not None
    frozen = n_layers - learning_blocks
    if frozen < 1 and setting == "on":
        raise RecipeError(
            f"training.feature_cache is 'on', but the model has {n_layers} blocks and the last {learning_blocks} learn,"
            " so nothing is frozen: choose 'auto', or let fewer blocks learn"
        )
    if frozen < 1:
        return FeatureChoice(False, f"all {n_layers} blocks learn")
    size = tokens * emb_dim * ITEM_SIZE[dtype] / GIB
    takes = f"{size:.2f} GiB for {tokens:,} tokens in {dtype}"
    if setting == "auto" and size > budget_gib:
        return FeatureChoice(False, f"{takes} is over training.feature_budget, {budget_gib:g} GiB")
    often = f"{epochs} epochs" if epochs > 1 else "training and again in evaluation"
    return FeatureChoice(True, f"{frozen} of {n_layers} blocks run once instead of in {often}; {takes}")


def features_obstacle(learning_blocks: int | None, *, pooling: str, dropout: float) -> str | None:
    """Why frozen activations cannot be kept, as far as the recipe alone says it; None if they can."""
    if learning_blocks is None:
        return "every block learns, so nothing stays the same between epochs"
    if pooling == "padded_last":
        return "classifier.pooling is padded_last, which reads the padding, and features are those of real tokens"
    if dropout > 0:
        return "model.dropout changes the frozen part's activations in every pass"
    return None
