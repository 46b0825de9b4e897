"""The other side that people use today: `transformers`' Trainer and text-classification pipeline.

This module builds the same network, head and encoding in transformers' classes, and runs both at their best setting.
Nothing is downloaded: weights are copied from our classifier, the tokenizer is built from our encoding's ranks.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TextClassificationPipeline,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.harness import synchronise
from benchmarks.workload import SEED, Amounts, Bench, Split
from lib.model.classifier import Classifier
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.weights import named_tensors
from lib.model.padding import pad_batch
from lib.text.gpt2 import END, PAD, tokenizer_json

transformers.logging.set_verbosity_error()  # it would warn of padding without a mask, which is right here

PIPELINE_BATCH = 32

Example = dict[str, Any]  # input_ids: tokens; labels: the class


def sequence_classifier(classifier: Classifier) -> GPT2ForSequenceClassification:
    """The same network and head in transformers' classes, with a copy of the numbers; the same part is frozen."""
    shape = cast(PooledGPT, classifier.backbone).gpt.config
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context_length,
        n_embd=shape.emb_dim,
        n_head=shape.n_heads,
        n_layer=shape.n_layers,
        layer_norm_epsilon=shape.layer_norm_epsilon,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        num_labels=len(classifier.labels),
        id2label=dict(enumerate(classifier.labels)),
        pad_token_id=PAD,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = GPT2ForSequenceClassification(config)
    model.score = torch.nn.Linear(shape.emb_dim, len(classifier.labels))  # theirs has no bias
    own = {name: parameter.requires_grad for name, parameter in _learning(classifier).items()}
    with torch.no_grad():
        parameters = dict(model.transformer.named_parameters())
        for name, tensor in named_tensors(cast(PooledGPT, classifier.backbone).gpt).items():
            parameters[name].copy_(tensor)
            parameters[name].requires_grad_(own[name])
        model.score.load_state_dict(classifier.head.state_dict())
    return model


def _learning(classifier: Classifier) -> dict[str, torch.nn.Parameter]:
    """Our parameters under transformers' names."""
    by_address = {
        parameter.data_ptr(): parameter for parameter in cast(PooledGPT, classifier.backbone).gpt.parameters()
    }
    return {
        name: by_address[tensor.data_ptr()]
        for name, tensor in named_tensors(cast(PooledGPT, classifier.backbone).gpt).items()
    }


@functools.cache
def tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """GPT-2's tokenizer as transformers has it; texts are cut to `max_length`."""
    fast = Tokenizer.from_str(tokenizer_json().decode())
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token=END,
        eos_token=END,
        padding_side="right",
        model_max_length=max_length,
    )


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """A batch padded to its longest message. No mask: padding lies at the right, where no real token looks."""
    tokens, _ = pad_batch([example["input_ids"] for example in examples], pad=PAD)
    return {"input_ids": tokens, "labels": torch.tensor([example["labels"] for example in examples])}


class Clock(TrainerCallback):  # type: ignore[misc]  # mypy does not look into it
    """Seconds between the end of the first step, which warms up, and the end of the last."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - their signature
        """Note the time at the two ends; waiting at every step would slow a GPU down."""
        if state.global_step in (1, state.max_steps):
            synchronise()
            self.last = time.perf_counter()
            self.first = self.first or self.last

    @property
    def seconds(self) -> float:
        """Between the two."""
        return self.last - self.first


@contextmanager
def trainer(
    model: GPT2ForSequenceClassification,
    examples: Sequence[Example],
    amounts: Amounts,
    folder: Path,
    *,
    device: str,
    precision: str,
    epochs: int = 1,
    callbacks: Sequence[TrainerCallback] = (),
) -> Iterator[Trainer]:
    """A Trainer that learns from `examples` in their order, saves and reports nothing."""
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=amounts.batch_size,
        per_device_eval_batch_size=amounts.batch_size,
        num_train_epochs=epochs,
        learning_rate=amounts.learning_rate,
        weight_decay=amounts.weight_decay,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        bf16=precision == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=SEED,
    )
    # Decay for every parameter, as the published loop and ours have it; their default spares biases and norms.
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=amounts.learning_rate, weight_decay=amounts.weight_decay, fused=True)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    learning_from = Trainer(
        model=model.to(device),
        args=arguments,
        train_dataset=list(examples),  # a list has all that a Dataset needs
        data_collator=collate,
        optimizers=(optimizer, constant),
        callbacks=list(callbacks),
    )
    learning_from.remove_callback(PrinterCallback)
    try:
        yield learning_from
    finally:
        # Accelerate keeps one state for a process, and the next training may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)


def examples(split: Split) -> list[Example]:
    """The split as the Trainer reads it."""
    return [{"input_ids": tokens, "labels": target} for tokens, target in zip(split.tokens, split.targets, strict=True)]


def random_order(lengths: Sequence[object], batch_size: int) -> list[int]:  # noqa: ARG001 - one signature for both
    """An epoch's order of messages by the Trainer's default sampler."""
    return torch.randperm(len(lengths), generator=torch.Generator().manual_seed(SEED)).tolist()


def grouped_order(lengths: Sequence[int], batch_size: int) -> list[int]:
    """An epoch's order by `train_sampling_strategy="group_by_length"`."""
    generator = torch.Generator().manual_seed(SEED)
    return list(LengthGroupedSampler(batch_size, lengths=list(lengths), generator=generator))


def trainer_seconds(
    bench: Bench,
    classifier: Classifier,
    *,
    order: Callable[[Sequence[int], int], list[int]],
    precision: str,
) -> float:
    """Seconds of the whole procedure, from every so-manieth batch of an epoch and a part of the evaluations.

    Both are scaled by their messages.
    """
    amounts, splits = bench.amounts, bench.workload.splits
    train, size = splits["train"], amounts.batch_size
    everything = examples(train)
    drawn = order([len(tokens) for tokens in train.tokens], size)
    batches = [drawn[start : start + size] for start in range(0, len(drawn), size)][:: amounts.trainer_share]
    longest = sorted(everything, key=lambda example: len(example["input_ids"]))[-size:]
    timed = [everything[position] for batch in batches for position in batch]
    clock = Clock()
    model = sequence_classifier(classifier)
    with trainer(
        model, longest + timed, amounts, bench.folder, device=bench.device, precision=precision, callbacks=[clock]
    ) as learning:
        learning.train()
        mixed = random_order(everything, size)[: amounts.trainer_evaluated]
        grouped = order([len(train.tokens[position]) for position in mixed], size)  # their evaluations do it too
        looked_at = [everything[mixed[place]] for place in grouped]
        learning.evaluate(looked_at[:size])
        evaluation: float = learning.evaluate(looked_at)["eval_runtime"]
    evaluations = amounts.evaluations(len(train.tokens)) * 2 * amounts.evaluate_batches * size
    evaluated = evaluations + len(bench.workload.messages.tokens)
    learnt = amounts.epochs * len(train.tokens)
    return clock.seconds / len(timed) * learnt + evaluation / len(looked_at) * evaluated


def pipeline(classifier: Classifier, *, width: int, device: str, precision: str) -> TextClassificationPipeline:
    """The text-classification pipeline over the same numbers."""
    model = sequence_classifier(classifier).eval()
    if precision == "bfloat16":
        model = model.to(torch.bfloat16)
    return TextClassificationPipeline(model=model, tokenizer=tokenizer(width), device=torch.device(device))


def classify(pipeline: TextClassificationPipeline, texts: Sequence[str]) -> list[list[float]]:
    """The probabilities of each class for each text, in batches of 32 padded to their longest."""
    results = pipeline(list(texts), batch_size=PIPELINE_BATCH, truncation=True, top_k=None)
    labels = pipeline.model.config.id2label
    scores = [{entry["label"]: entry["score"] for entry in result} for result in results]
    return [[score[labels[position]] for position in range(len(labels))] for score in scores]
