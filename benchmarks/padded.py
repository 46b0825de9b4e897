"""The other side that pads everything: a training loop and a prediction as the published procedure has them.

This module computes what chapter 6 of "Build a Large Language Model (From Scratch)" does, at its best setting: every
message padded to the longest, all blocks at every position, in every epoch and every evaluation. Frozen blocks record
no gradients, attention is torch's fused one, and AdamW is fused. One thing is not the published one: the last real
token feeds the head rather than the last position, so that both sides compute the same classifier.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.harness import seconds
from benchmarks.workload import SEED, Amounts, Bench, Split
from lib.model.classifier import Classifier
from lib.model.gpt2.pooled import PooledGPT
from lib.model.padding import pad_batch
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokens import tokenize

Batch = list[Tensor]  # tokens (batch, width), lengths (batch,), targets (batch,)


class PaddedClassifier(nn.Module):
    """The parts of a `Classifier`, all of them run at every position."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.backbone = classifier.backbone
        self.head = classifier.head

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Tokens (batch, width) and real lengths (batch,) -> logits (batch, classes)."""
        logits: Tensor = self.head(cast(PooledGPT, self.backbone).gpt.hidden(tokens))  # (batch, width, classes)
        return logits[torch.arange(len(tokens), device=tokens.device), lengths - 1].float()


class PaddedLoop:
    """The training loop. `classifier` learns in place, where its parameters require gradients."""

    def __init__(self, classifier: Classifier, amounts: Amounts, *, width: int, device: str, precision: str) -> None:
        self.model = PaddedClassifier(classifier).to(device)
        self.amounts, self.width, self.device, self.precision = amounts, width, device, precision
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            learning, lr=amounts.learning_rate, weight_decay=amounts.weight_decay, fused=True
        )

    def loader(self, split: Split, *, shuffle: bool) -> "DataLoader[Batch]":
        """The split in padded batches; shuffled ones are whole."""
        tokens, lengths = pad_batch(split.tokens, self.width)
        rows = TensorDataset(tokens, lengths, torch.tensor(split.targets))
        return DataLoader(
            cast("Dataset[Batch]", rows), batch_size=self.amounts.batch_size, shuffle=shuffle, drop_last=shuffle
        )

    def step(self, batch: Batch) -> None:
        """Learn from a batch."""
        self.model.train()
        self.optimizer.zero_grad()
        logits, targets = self._logits(batch)
        F.cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch]) -> tuple[float, float]:
        """Mean of the batches' losses, and accuracy."""
        self.model.eval()
        losses, correct, count = [], 0, 0
        for batch in batches:
            logits, targets = self._logits(batch)
            losses.append(F.cross_entropy(logits, targets).item())
            correct += int((logits.argmax(dim=1) == targets).sum().item())
            count += len(targets)
        return statistics.fmean(losses), correct / count

    @torch.no_grad()
    def logits(self, split: Split) -> Tensor:
        """(messages, classes)."""
        self.model.eval()
        return torch.cat([self._logits(batch)[0] for batch in self.loader(split, shuffle=False)])

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        tokens, lengths, targets = (part.to(self.device) for part in batch)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits = self.model(tokens, lengths)
        return logits.float(), targets


@dataclass
class PaddedTimes:
    """Seconds of single steps and of single batches of an evaluation."""

    steps: list[float]
    batches: list[float]

    def whole(self, bench: Bench) -> float:
        """Seconds of the whole procedure: every batch is as large as every other, so medians are multiplied."""
        amounts, splits = bench.amounts, bench.workload.splits
        messages = len(splits["train"].tokens)
        final = sum(-(-len(split.tokens) // amounts.batch_size) for split in splits.values())
        evaluated = amounts.evaluations(messages) * 2 * amounts.evaluate_batches + final
        return amounts.steps(messages) * statistics.median(self.steps) + evaluated * statistics.median(self.batches)


def time_padded_loop(bench: Bench, classifier: Classifier, times: PaddedTimes, *, precision: str, share: float) -> None:
    """Add this share of the steps and batches to `times`, after one of each to warm up."""
    amounts = bench.amounts
    loop = PaddedLoop(classifier, amounts, width=bench.workload.width, device=bench.device, precision=precision)
    torch.manual_seed(SEED)
    train = loop.loader(bench.workload.splits["train"], shuffle=True)
    steps, batches = (max(1, round(count * share)) for count in (amounts.padded_steps, amounts.padded_batches))
    first, *rest = islice(train, steps + 1)
    loop.step(first)
    times.steps += [seconds(lambda batch=batch: loop.step(batch)) for batch in rest]  # type: ignore[misc]
    first, *rest = islice(loop.loader(bench.workload.splits["train"], shuffle=False), batches + 1)
    loop.evaluate(iter([first]))
    times.batches += [seconds(lambda batch=batch: loop.evaluate(iter([batch]))) for batch in rest]  # type: ignore[misc]


@torch.no_grad()
def classify_one_at_a_time(
    model: PaddedClassifier, texts: Sequence[str], *, width: int, device: str, precision: str
) -> list[list[float]]:
    """The probabilities of each class for each text, as the published procedure classifies a text: padded, alone."""
    model.eval()
    tokenizer = gpt2_tokenizer()
    probabilities = []
    for text in texts:
        tokens, lengths = pad_batch(tokenize([text], tokenizer, max_length=width), width)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(tokens.to(device), lengths.to(device))
        probabilities.append(logits.float().softmax(dim=1)[0].tolist())
    return probabilities
