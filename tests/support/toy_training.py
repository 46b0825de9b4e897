"""A training small enough to check by running it again: messages, a classifier and the settings of a run."""

from __future__ import annotations

import tempfile
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lib.model.classifier import Classifier, new_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.progress import Listener
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.classify.single_label import SingleLabel
from lib.training.settings import Settings
from lib.training.train import Trained

if TYPE_CHECKING:
    from lib.recipes.sections import Lora

CONFIG = GPTConfig(context_length=32, emb_dim=16, n_heads=2, n_layers=3)
MAX_LENGTH = 20


def messages(count: int, seed: int) -> EncodedMessages:
    """Messages of 3 to 19 tokens; those of class 1 use higher tokens, with some overlap."""
    random = np.random.default_rng(seed)
    tokens, targets = [], []
    for _ in range(count):
        target, length = int(random.integers(2)), int(random.integers(3, 20))
        tokens.append((random.integers(0, 40, length) + 20 * target).tolist())
        targets.append(target)
    return EncodedMessages(tokens, targets)


TRAIN, VALIDATION = messages(100, 0), messages(21, 1)


def classifier(
    *, pooling: Any = "padded_last", trainable: Any = "last_block", dropout: float = 0.0, lora: Lora | None = None
) -> Classifier:
    """A classifier whose biases and norms are not at their initial zeros and ones."""
    gpt = new_gpt(GPTConfig(**{**vars(CONFIG), "dropout": dropout}), seed=5)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapt = None if lora is None else methodcaller("add_adapters", **lora.model_dump())
    return new_classifier(PooledGPT(gpt, pooling=pooling), ("ham", "spam"), trainable=trainable, seed=123, adapt=adapt)


def settings(**fields: Any) -> Settings:
    """Three short epochs on the CPU."""
    defaults: dict[str, Any] = {
        "epochs": 3,
        "learning_rate": 5e-3,
        "evaluate_every": 5,
        "evaluate_batches": 3,
        "device": "cpu",
    }
    return Settings(**(defaults | fields))


def train(model: Classifier, *, scratch: Path | None = None, padding: Any = "longest", **more: Any) -> Trained:
    """Fine-tune `model`; settings, splits, a listener's fields and arguments of `finetune` may be mixed in `more`."""

    def taken(names: Any) -> dict[str, Any]:
        return {name: more.pop(name) for name in list(more) if name in names}

    fields = taken(Settings.__dataclass_fields__)
    listener = Listener(**taken(Listener.__dataclass_fields__))
    objective = SingleLabel(**taken(SingleLabel.__dataclass_fields__))
    splits = {"train": TRAIN, "validation": VALIDATION, **taken(("train", "validation", "test"))}
    with tempfile.TemporaryDirectory() as folder:
        return finetune(
            model,
            splits,
            settings=settings(**fields),
            padding=padding,
            objective=objective,
            scratch=Path(folder) if scratch is None else scratch,
            listener=listener,
            **{"max_length": MAX_LENGTH, **more},
        )
