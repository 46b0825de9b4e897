"""Evaluates a model that follows instructions: the loss of every split, metrics of its answers, the loss curve."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from lib.data.tables import MEASURED_ANSWERS, save_table
from lib.evaluation.figures import draw_loss, save_figures
from lib.evaluation.instruct.answers import Answer, measure_answers, perplexity
from lib.files.jsonfile import save_json
from lib.model.language_model import LanguageModel
from lib.model.machine.device import device_name
from lib.model.machine.fast import fast
from lib.progress import Progress, silent
from lib.text.batching import batches_by_tokens
from lib.training.instruct.batches import EncodedEntries
from lib.training.instruct.next_token import Predicting, mean_loss

TOKENS = 512  # positions per batch: their logits over 50,257 tokens take 100 MB in float32


def evaluate_answers(
    model: LanguageModel,
    *,
    splits: Mapping[str, EncodedEntries],
    answers: pd.DataFrame,
    history: pd.DataFrame,
    folder: Path,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = silent,
) -> None:
    """Writes metrics.json, measured.parquet and figures/ to the existing `folder`.

    metrics.json: `splits` (see `split_losses`), and `answers`, the summary of `measure_answers`. measured.parquet: its
    row for each answer. figures: `loss`, over epochs and tokens seen.

    Args:
        answers: of the test split, a table as `lib.data.tables.ANSWERS`.
        history: the training's history table.
        precision: of the matrix products, `float32` or `bfloat16`.
    """
    rows = [
        Answer(row["id"], row["response"], reference=row["output"], tokens=row["tokens"], stopped=row["stopped"])
        for row in answers.to_dict("records")
    ]
    measured, summary = measure_answers(rows)
    save_table(pd.DataFrame(measured), folder / "measured.parquet", MEASURED_ANSWERS)
    losses = split_losses(model, splits, device=device, precision=precision, progress=progress)
    save_json({"splits": losses, "answers": summary}, folder / "metrics.json")
    save_figures(folder / "figures", lambda: {"loss": draw_loss(history, above="tokens_seen")})


def split_losses(
    model: LanguageModel,
    splits: Mapping[str, EncodedEntries],
    *,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = silent,
) -> dict[str, dict[str, float | int | None]]:
    """Returns for each split the mean `loss` over all targets (nats), its `perplexity` and the number of `targets`. The
    model is moved to `device`; its mode does not change."""
    place = torch.device(device_name(device))
    predicting = Predicting(model).to(place)
    autocast = torch.autocast(place.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    figures: dict[str, dict[str, float | int | None]] = {}
    total = sum(len(split.tokens) for split in splits.values())
    done = 0
    with fast(predicting, model.width), autocast:
        for name, split in splits.items():
            batches = (batch.tolist() for batch in batches_by_tokens(split.lengths(), TOKENS))
            loss, targets = mean_loss(predicting, split, batches)
            figures[name] = {"loss": loss, "perplexity": perplexity(loss), "targets": targets}
            done += len(split.tokens)
            progress(done, total, "entries")
    return figures
