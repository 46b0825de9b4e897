"""Runs one training from device, precision and optimizer to the kept weights, with checkpoints."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from lib.model.machine.cuda import repeatable
from lib.model.machine.device import device_name
from lib.model.machine.memory import memory_suffices
from lib.model.machine.processor import processors
from lib.progress import NOBODY, Listener
from lib.training.batches import Order
from lib.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from lib.training.examples import Examples
from lib.training.history import history_table
from lib.training.loop import Loop, best_row
from lib.training.published import Published
from lib.training.settings import Settings
from lib.training.team import Team


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    history: pd.DataFrame  # one row for each evaluation; the columns of `lib.training.history.history_schema`
    kept: int  # position of the row whose weights the model has
    resumed_at: int | None  # batches done by an earlier attempt (None: not resumed)
    published: dict[str, dict[str, float]]  # `before` and `after`, if asked for: see `lib.training.published`
    samples: list[str]  # written after each epoch, if asked for
    parameters: int  # including adapters
    trainable_parameters: int  # those that require gradients


def train(
    model: nn.Module,
    splits: Mapping[str, Examples],
    *,
    order: Order,
    settings: Settings,
    scratch: Path,
    mark: str,
    evaluate_epochs: bool = True,
    sample: Callable[[], str] | None = None,
    published: Published | None = None,
    listener: Listener = NOBODY,
) -> Trained:
    """Trains the parameters of `model` that require gradients, in place; it comes back on the CPU, in eval mode.

    Evaluates after the first batch, then after every `settings.evaluate_every` batches, and with `evaluate_epochs`
    after each epoch. Seeds torch's global generators.

    The same arguments give bit-identical weights on the same machine, with the same number of threads of a CPU or on
    the same kind of GPU (as long as its memory allows the same number of messages at once), also when the
    training is interrupted and called again with the same `scratch`: a checkpoint there is resumed if it has the same
    `mark` (see `mark_of`), and its rows and samples are replayed.

    The processes of the splits' team, `settings.processes`, each call it with the same arguments. What one process with
    batches of `settings.whole_batch` computes, they compute together, but for rounding and dropout's draws. The first
    one alone reads and writes `scratch`.

    Args:
        splits: `train` and `validation`; others are prepared too, for `published`.
        sample: called after each epoch; must not draw from torch's generator.

    Raises:
        TrainingError: the loss is not a finite number.
        RecipeError: no such device, or its memory is too small.
        StoreError: the disk is full.
    """
    team = splits["train"].team
    if team.size != settings.processes:
        raise ValueError(f"{settings.processes} processes were to train together, and there are {team.size}")

    def save(checkpoint: Checkpoint, number: int) -> None:
        write_checkpoint(scratch, checkpoint, number=number, fingerprint=mark)
        team.saved(scratch)

    with (
        memory_suffices(),
        _accelerated(model, settings, team) as (accelerator, prepared, optimizer),
        repeatable(accelerator.device),
    ):
        for split in splits.values():
            split.prepare(accelerator.device)
        loop = Loop(
            accelerator=accelerator,
            given=model,
            model=prepared,
            optimizer=optimizer,
            settings=settings,
            order=order,
            train=splits["train"],
            validation=splits["validation"],
            evaluate_epochs=evaluate_epochs,
            sample=sample,
            listener=listener,
            save=save if team.rank == 0 else lambda checkpoint, number: None,
        )
        if published is not None:
            published.measure_before(prepared)
        torch.manual_seed(settings.seed + team.rank)
        checkpoint = _first_checkpoint(team, lambda: read_checkpoint(scratch, fingerprint=mark, warn=listener.warn))
        if checkpoint is not None:
            loop.restore(checkpoint)
        loop.run()
        loop.give_back()
        rows = loop.state.rows
        kept = len(rows) - 1
        if settings.keep == "best":
            kept = best_row(rows)
            model.load_state_dict(loop.state.best, strict=False)  # the frozen rest has not changed
        if published is not None:
            published.measure_after(prepared)
    return Trained(
        history=history_table(rows, splits["train"].objective.measures),
        kept=kept,
        resumed_at=None if checkpoint is None else int(checkpoint.state["steps"]),
        published=published.figures if published else {},
        samples=loop.state.samples,
        parameters=sum(each.numel() for each in model.parameters()),
        trainable_parameters=sum(each.numel() for each in model.parameters() if each.requires_grad),
    )


def _first_checkpoint(team: Team, read: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    """Returns in all processes the checkpoint that the first one reads."""
    found = read() if team.rank == 0 else None
    state = team.first(lambda: None if found is None else found.state)
    if state is None:
        return None
    return Checkpoint(state, team.first_tensors({} if found is None else found.tensors))


@contextmanager
def _accelerated(
    model: nn.Module, settings: Settings, team: Team
) -> Iterator[tuple[Accelerator, nn.Module, torch.optim.Optimizer]]:
    """Sets up and finally undoes Accelerate's device, precision and wrapping for `model`, and an AdamW."""
    precision = "bf16" if settings.precision == "bfloat16" else "no"
    cpu = device_name(settings.device) == "cpu"
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=team.handlers())
    own = set(vars(model))
    try:
        if settings.sharding == "full":
            from lib.training.distributed.sharding import sharded

            with sharded(model, accelerator.device) as parts:
                # For evaluation: as it is but for its precision, and not as one that each process has for itself.
                prepared = accelerator.prepare_model(parts, device_placement=False, evaluation_mode=True)
                yield accelerator, prepared, accelerator.prepare(_optimizer(parts, settings))
        else:
            yield accelerator, *accelerator.prepare(model, _optimizer(model, settings))
    finally:
        # Accelerate keeps one state for a process; the next training may want another device or precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        for name in vars(model).keys() - own:  # its `forward`, and a mark that would make it skip the next time
            delattr(model, name)
        model.zero_grad()
        model.cpu().eval()


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learning, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def mark_of(settings: Mapping[str, object], model: nn.Module, data: Iterable[bytes]) -> str:
    """SHA-256 over all that a result depends on except machine and code: what a checkpoint must match.

    settings: JSON-able. data: the splits' bytes.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    digest.update(json.dumps(learning).encode())
    for part in data:
        digest.update(part)
    weights = model.state_dict()
    with ThreadPoolExecutor(processors()) as threads:  # hashing lets others run, and a second counts
        for name, mark in zip(weights, threads.map(_mark, weights.values()), strict=True):
            digest.update(name.encode())
            digest.update(mark)
    return digest.hexdigest()


def _mark(weight: Tensor) -> bytes:
    return hashlib.sha256(weight.detach().cpu().contiguous().numpy().data).digest()
