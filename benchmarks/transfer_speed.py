"""`python -m benchmarks.transfer_speed`: fine-tuning the last block on TREC, against transformers' Trainer.

Both sides begin with the same really pretrained weights, learn the same parameters from the same texts in batches of
one size, and end with accuracies that are printed beside the seconds. Ours is measured cold, with the features, and
warm, with features that are there, as a second recipe finds them. The Trainer groups texts by length, which is its best
setting here; of a slow network it runs a part of the batches, and seconds are scaled by their tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.state import AcceleratorState
from torch import nn

from benchmarks.harness import machine, machine_kind
from benchmarks.transfer import DATA, DECODER, ENCODER, RESULTS
from benchmarks.workload import PROJECT
from lib.model.backbone import Pooling
from lib.model.classifier import Classifier, class_probabilities, new_classifier
from lib.model.features.file import Features, write_features
from lib.model.hugging_face.pooled import load_backbone
from lib.model.machine.heap import keep_freed_memory
from lib.model.padding import pad_batch
from lib.text.tokenizer import load_tokenizer
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.settings import Settings

EPOCHS, BATCH, RATE, SEED = 4, 32, 5e-4, 123
MAX_LENGTH = 64  # tokens; the longest question has 41
SETTINGS = Settings(
    epochs=EPOCHS,
    batch_size=BATCH,
    learning_rate=RATE,
    weight_decay=0.01,
    schedule="cosine",
    warmup_steps=50,
    gradient_clip=1.0,
    evaluate_every=100_000,  # only after the first batch and after each epoch, where the Trainer evaluates too
    evaluate_batches=9,  # the whole validation split
    device="cpu",
)


@dataclass(frozen=True)
class Side:
    """A network, and every so-manieth batch that the Trainer runs of it."""

    folder: str
    pooling: Pooling
    share: int


SIDES = (Side(ENCODER, "cls", 1), Side(DECODER, "last_token", 8))


@dataclass(frozen=True)
class Texts:
    """Tokens and classes of a split."""

    tokens: list[list[int]]
    targets: list[int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures both networks in both precisions and adds the figures to the results of `benchmarks.transfer`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer_speed", description=__doc__)
    parser.add_argument("--models", type=Path, default=PROJECT.parent / "shared" / "models" / "weights")
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    parser.add_argument("--only", help="the folder of one network: only that")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # for both sides
    for side in SIDES:
        if options.only not in (None, side.folder):
            continue
        splits, labels = _texts(options.models / side.folder, options.data)
        for precision in ("float32", "bfloat16"):
            ours = _ours(options.models / side.folder, side, splits, labels, precision)
            theirs = _trainer(options.models / side.folder, side, splits, labels, precision)
            row: dict[str, Any] = {"model": side.folder, "precision": precision, "ours": ours, "trainer": theirs}
            row["cold_ratio"] = theirs["seconds"] / (ours["features"] + ours["training"])
            row["warm_ratio"] = theirs["seconds"] / ours["training"]
            _keep(row)
            print(json.dumps(row), flush=True)  # noqa: T201 - this is the program's output
    return 0


def _keep(row: dict[str, Any]) -> None:
    """Puts a row into the results in place of the same network's in the same number type."""
    file = RESULTS / f"{machine_kind(machine('cpu'))}.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"runs": []}
    same = (row["model"], row["precision"])
    others = [each for each in results.get("speed", []) if (each["model"], each["precision"]) != same]
    results["speed"] = [*others, row]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _texts(model: Path, data: Path) -> tuple[dict[str, Texts], tuple[str, ...]]:
    """Returns TREC's texts as the network's tokens: train, a twentieth of it for validation, and the published test."""
    files = DATA[0].files
    tables = {split: pd.read_csv(data / file, dtype=str) for split, file in files.items()}
    labels = tuple(sorted(tables["train"]["label"].unique()))
    shuffled = tables["train"].sample(frac=1, random_state=SEED)
    held = len(shuffled) // 20
    tables |= {"validation": shuffled[:held], "train": shuffled[held:]}
    tokenizer = load_tokenizer(model)
    return {
        split: Texts(tokenizer.encode(table["text"]), [labels.index(label) for label in table["label"]])
        for split, table in tables.items()
    }, labels


def _classifier(model: Path, side: Side, labels: tuple[str, ...]) -> Classifier:
    pad = load_tokenizer(model).pad
    backbone = load_backbone(model, labels, pooling=side.pooling, context_length=512, pad=pad, seed=SEED)
    return new_classifier(backbone, labels, trainable="last_block", seed=SEED)


def _ours(
    model: Path, side: Side, splits: dict[str, Texts], labels: tuple[str, ...], precision: str
) -> dict[str, float]:
    """Returns seconds of features and of training with the final test, and the accuracy."""
    classifier = _classifier(model, side, labels)
    backbone = classifier.backbone
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        started = time.perf_counter()
        features: dict[str, Features] = {}
        for name, split in splits.items():
            ids = range(len(split.tokens))
            cut = {"blocks": backbone.cut, "dtype": precision, "scratch": folder / "part"}
            write_features(folder / name, backbone, split.tokens, ids, **cut)  # type: ignore[arg-type]
            features[name] = Features(folder / name, ids)
        made = time.perf_counter()
        for module in backbone.frozen_modules(backbone.cut):
            if isinstance(module, nn.Linear):
                module.float()
        finetune(
            classifier,
            {name: EncodedMessages(features[name], splits[name].targets) for name in ("train", "validation")},
            settings=SETTINGS,
            padding="batch",
            max_length=MAX_LENGTH,
            scratch=folder / "checkpoints",
        )
        guesses = class_probabilities(
            classifier, features["test"], padding="batch", max_length=MAX_LENGTH, device="cpu"
        ).argmax(axis=1)
        ended = time.perf_counter()
    accuracy = float((guesses == np.asarray(splits["test"].targets)).mean())
    return {"features": made - started, "training": ended - made, "accuracy": accuracy}


def _trainer(
    model: Path, side: Side, splits: dict[str, Texts], labels: tuple[str, ...], precision: str
) -> dict[str, float]:
    """Returns the Trainer's seconds for the same epochs, evaluations on validation after each and the test at the end;
    and its accuracy, where it ran all batches."""
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pad = load_tokenizer(model).pad
    torch.manual_seed(SEED)
    network = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=len(labels), pad_token_id=pad, dtype=torch.float32, use_cache=False
    )
    ours = _classifier(model, side, labels)
    learning = {name for name, parameter in ours.backbone.transformer.named_parameters() if parameter.requires_grad}  # type: ignore[attr-defined]
    heads = {name for name, _ in network.named_parameters()} - {
        name
        for name, _ in ours.backbone.transformer.named_parameters()  # type: ignore[attr-defined]
    }
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learning | heads)
    examples: dict[str, list[dict[str, Any]]] = {
        name: [{"input_ids": t, "labels": y} for t, y in zip(split.tokens, split.targets, strict=True)]
        for name, split in splits.items()
    }
    chosen = _share(examples["train"], side.share)

    def collate(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        tokens, lengths = pad_batch([each["input_ids"] for each in batch], pad=pad)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        return {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([each["labels"] for each in batch])}

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=network,
            args=TrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=BATCH,
                num_train_epochs=EPOCHS if side.share == 1 else 1,
                learning_rate=RATE,
                weight_decay=0.01,
                lr_scheduler_type="cosine",
                warmup_steps=50,
                max_grad_norm=1.0,
                optim="adamw_torch_fused",
                train_sampling_strategy="group_by_length",
                bf16=precision == "bfloat16",
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                eval_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=SEED,
            ),
            train_dataset=chosen,
            data_collator=collate,
        )
        try:
            started = time.perf_counter()
            trainer.train()
            trained = time.perf_counter()
            looked = trainer.predict(sorted(examples["test"], key=lambda each: len(each["input_ids"])))
            ended = time.perf_counter()
        finally:
            # Accelerate keeps one state for a process, and the next training may want another precision.
            AcceleratorState._reset_state(reset_partial_state=True)
    accuracy = float((looked.predictions.argmax(axis=1) == looked.label_ids).mean())
    epochs = EPOCHS if side.share == 1 else 1
    scale = EPOCHS / epochs * _tokens(examples["train"]) / _tokens(chosen)
    of_test = ended - trained
    validations = EPOCHS * of_test * _tokens(examples["validation"]) / _tokens(examples["test"])
    return {
        "seconds": (trained - started) * scale + validations + of_test,
        "share": 1 / side.share,
        **({"accuracy": accuracy} if side.share == 1 else {}),
    }


def _share(examples: list[dict[str, Any]], share: int) -> list[dict[str, Any]]:
    """Every so-manieth batch of texts of similar length, so that their lengths are those of all."""
    ordered = sorted(examples, key=lambda each: len(each["input_ids"]))
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    return examples if share == 1 else [each for batch in batches[::share] for each in batch]


def _tokens(examples: Sequence[dict[str, Any]]) -> int:
    return sum(len(each["input_ids"]) for each in examples)


if __name__ == "__main__":
    sys.exit(main())
