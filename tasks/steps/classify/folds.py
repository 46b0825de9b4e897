"""The messages of several splits, each once, and the classifier that is trained on each fold of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from lib.data.lookup import FirstTimes
from lib.data.parts import Parts
from lib.data.tokens import REPORT
from lib.files.jsonfile import load_json
from lib.progress import Listener
from tasks.record.live import progress_shown
from tasks.steps.classify.network import objective_of
from tasks.steps.training import training_settings

if TYPE_CHECKING:
    from lib.evaluation.classify.suspects import OutOfFold
    from lib.model.classifier import Classifier
    from lib.model.features.inputs import AllInputs
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Work


def once(splits: Sequence[Parts]) -> Iterator[tuple[int, pa.RecordBatch, NDArray[np.bool_]]]:
    """Yields the rows of all splits, with the number of theirs and whether each is the first of its message."""
    first_times = FirstTimes()
    for number, each in enumerate(splits):
        for batch in each.batches(["id", "target", "near_high"]):
            yield number, batch, first_times.mark(batch.column("id").to_numpy())


def messages_in(splits: Sequence[Parts], chosen: Sequence[int]) -> pd.DataFrame:
    """Returns of some messages of the splits, which are counted each once, numbers: id, target, that of the `split`,
    the number `group` of those that are near-duplicates, and their `place` among the rows of all these splits.

    chosen: which ones, ascending.
    """
    wanted, found, before, places = np.asarray(chosen, np.int64), [], 0, 0
    for number, batch, first in once(splits):
        rows = np.flatnonzero(first)
        low, high = np.searchsorted(wanted, [before, before + len(rows)])
        some = rows[wanted[low:high] - before]
        columns = {name: batch.column(name).to_numpy()[some] for name in batch.schema.names}
        found.append(pd.DataFrame({**columns, "place": places + some, "split": number}))
        before, places = before + len(rows), places + len(batch)
    table = pd.concat(found, ignore_index=True)
    return table.assign(group=pd.factorize(table["near_high"])[0]).drop(columns="near_high")


def inputs_of(table: pd.DataFrame, splits: Sequence[str], tokenize: Artifact, features: Artifact) -> AllInputs:
    """Returns what a network reads of the messages of a table by `messages_in`; `splits`: the names of its splits."""
    from lib.model.features.inputs import AllInputs, split_inputs

    read = [split_inputs(tokenize.folder, features.folder, name) for name in splits]
    return AllInputs(read, table["place"].to_numpy())


def judged_by_folds(
    work: Work[ClassifyRecipe],
    table: pd.DataFrame,
    splits: Sequence[str],
    new: Callable[[], Classifier],
    folds: int,
    tokenize: Artifact,
    features: Artifact,
) -> OutOfFold:
    """Trains the classifier on each fold as the single one is trained, and tells how accurate it is. table, splits: as
    in `inputs_of`; train and validation are the first two."""
    from lib.evaluation.classify.cross_validation import Messages, Procedure
    from lib.evaluation.classify.cross_validation import cross_validate as train_on_folds

    recipe = work.recipe
    targets = table["target"].to_numpy(np.int64)
    train, validation = np.bincount(table["split"], minlength=2)[:2]
    procedure = Procedure(
        settings=training_settings(recipe.training, work.identity["device"]).alone(),
        padding=recipe.classifier.padding,
        max_length=load_json(tokenize.file(REPORT))["max_length"],
        objective=objective_of(recipe, targets.tolist()),
        validation_share=float(validation / (train + validation)),
        balance=recipe.balance.method,
        balance_seed=recipe.balance.seed,
        fingerprint=features.digest,
    )
    progress = progress_shown("cross_validate", work.progress, work.log.warning, of="cross-validation")
    return train_on_folds(
        new,
        Messages(inputs_of(table, splits, tokenize, features), targets, table["group"].to_numpy(np.int64)),
        folds,
        procedure,
        scratch=work.scratch,
        listener=Listener(progress=progress, warn=work.log.warning),
        on_fold=lambda number, accuracy: work.log.info("fold %s of %s: accuracy %.2f%%", number, folds, 100 * accuracy),
    )
