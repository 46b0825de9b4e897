"""The training loop from the first batch to the last: gradient steps, evaluations and checkpoints."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lib.errors import TrainingError
from lib.model.machine.graphs import Replayed, ReplayedModule, replays
from lib.model.machine.memory import memory_suffices, within_memory
from lib.model.machine.shards import as_part, whole
from lib.processes.stopping import Held
from lib.progress import Listener
from lib.training.batches import Batches, Order
from lib.training.checkpoint import Checkpoint, generator_states, restore_generators
from lib.training.examples import Examples, added
from lib.training.history import Row, replay
from lib.training.schedule import learning_rate_factor
from lib.training.settings import Settings


@dataclass
class State:
    """The position of the loop. With weights, optimizer and generators, this is all that a checkpoint keeps."""

    epoch: int = 0  # finished epochs
    batches: Batches | None = None  # of the current epoch, once drawn
    done: int = 0  # batches of the current epoch
    steps: int = 0  # batches of the whole training
    updates: int = 0  # optimizer steps done
    examples_seen: int = 0
    tokens_seen: int = 0  # without padding, as far as the processes have added up what they read
    seconds: float = 0.0
    learning_rate: float = 0.0  # of the latest update
    rows: list[Row] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)  # written after each epoch, if asked for
    at_once: int | None = None  # messages that memory held at once (None: all of a batch)
    best: dict[str, Tensor] = field(default_factory=dict)  # trainable weights of the best row, with `keep: best`


# The fields that JSON can hold; the others go into a checkpoint as tensors.
PLAIN = tuple(each.name for each in fields(State) if each.name not in ("batches", "best"))


def best_row(rows: Sequence[Row]) -> int:
    """Returns the position of the row with the lowest validation loss, the first if several are equal."""
    return min(range(len(rows)), key=lambda index: rows[index]["validation_loss"])


@dataclass
class Loop:
    """One training. `model` and `optimizer` are prepared by `accelerator`; `train` and `validation` share the room of
    memory and the team. Each process of a team has the same loop, in step with the others."""

    accelerator: Accelerator
    given: nn.Module  # as it was before that
    model: nn.Module
    optimizer: torch.optim.Optimizer
    settings: Settings
    order: Order
    train: Examples
    validation: Examples
    evaluate_epochs: bool  # also evaluate after each epoch
    sample: Callable[[], str] | None  # lets the model write something after each epoch
    listener: Listener
    save: Callable[[Checkpoint, int], None]
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        plain = self.accelerator.unwrap_model(self.model)  # without the wrapper of a data-parallel training
        self.learning = {name: p for name, p in plain.named_parameters() if p.requires_grad}
        self.sharded = self.settings.sharding == "full"
        self.unchecked: list[Tensor] = []  # losses not yet checked to be finite; checking makes a GPU wait
        self.tokens = 0  # read by this process and not yet in `state.tokens_seen`
        self.room, self.team = self.train.room, self.train.team
        device = self.accelerator.device
        self.measured = plain if self.team.size > 1 and not self.sharded else self.model  # each process on its own
        self.replayed: Replayed | None = None
        if self.train.split.recordable and self.validation.split.recordable and not self.sharded:
            self.measured = ReplayedModule(self.measured, device)
            if self.settings.gradient_accumulation == 1 and self.team.size == 1 and replays(plain):
                self.replayed = Replayed(self._learn, device)
        self.saved_at = 0  # state.steps of the latest checkpoint
        self.started = time.perf_counter()
        self.total_steps = self.settings.epochs * self.order.batches_per_epoch
        self.total_updates = self.settings.epochs * math.ceil(
            self.order.batches_per_epoch / self.settings.gradient_accumulation
        )

    def run(self) -> None:
        """Trains until the last epoch is done or patience is exhausted."""
        state = self.state
        self.started = time.perf_counter() - state.seconds
        self.model.train()
        with self.team.asked() as held:
            self._run_epochs(held)
        self._settle()

    def _run_epochs(self, held: Held) -> None:
        """Trains epoch by epoch; a signal that asks to stop is heeded between two optimizer steps, with a
        checkpoint."""
        state = self.state
        while state.epoch < self.settings.epochs and not self._out_of_patience():
            if state.batches is None:
                state.batches = self.team.first(self.order.epoch)
            while state.done < len(state.batches):
                complete = self._train_batch(state.batches)
                if (state.steps - 1) % self.settings.evaluate_every == 0:
                    self._evaluate()
                self.listener.progress(state.steps, self.total_steps, "steps")
                stop = complete and self.team.any_asked(held.heard)
                if complete and (self._checkpoint_is_due() or stop):
                    self._settle()
                    self.saved_at = state.steps
                    self.save(self.checkpoint(), state.steps)
                if stop:
                    held.stop()
            if self.evaluate_epochs:
                self._evaluate()
            state.epoch, state.batches, state.done = state.epoch + 1, None, 0
            if self.sample is not None:
                self._settle()  # with weights that are not numbers a GPT cannot write
                self.give_back()
                state.samples.append(self.team.first(self.sample))
                self.listener.on_sample(state.epoch, state.samples[-1])

    def give_back(self) -> None:
        """Copies what a sharded model has learned into the model that it is of."""
        if self.sharded:
            given = dict(self.given.named_parameters())
            with torch.no_grad():
                for name, parameter in self.learning.items():
                    given[name].copy_(whole(parameter))

    def checkpoint(self) -> Checkpoint:
        """Returns all that `restore` needs. Call only between two optimizer steps: gradients are not kept."""
        state = self.state
        state.seconds = time.perf_counter() - self.started
        state.at_once = self.room.most
        assert state.batches is not None
        tensors = {
            "order.messages": torch.from_numpy(state.batches.messages),
            "order.begins": torch.from_numpy(state.batches.begins),
            "order.size": torch.tensor(state.batches.size),
        }
        tensors |= {f"best.{name}": weight for name, weight in state.best.items()}
        for rank, states in enumerate(self.team.all(generator_states(self.accelerator.device))):
            tensors |= {f"{_generator(rank)}{name}": numbers for name, numbers in states.items()}
        gathered = ((name, whole(tensor)) for name, tensor in self._learned())
        tensors |= {name: tensor for name, tensor in gathered if self.team.rank == 0}  # the others only take part
        return Checkpoint({name: getattr(state, name) for name in PLAIN}, tensors)

    def _learned(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the weights that learn, and the optimizer's moments, by their names in a checkpoint."""
        yield from ((f"weights.{name}", parameter) for name, parameter in self.learning.items())
        for index, moments in self.optimizer.state_dict()["state"].items():
            yield from ((f"optimizer.{index}.{name}", tensor) for name, tensor in moments.items())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resumes from `checkpoint`; replays its rows and samples, which may never have been stored."""
        tensors = checkpoint.tensors
        order = _under("order.", tensors)
        self.state = State(**checkpoint.state)
        self.state.batches = Batches(order["messages"].numpy(), int(order["size"]), order["begins"].numpy())
        self.state.best = _under("best.", tensors)
        self.room.most = self.state.at_once
        self.saved_at = self.state.steps
        with torch.no_grad():
            for name, weight in _under("weights.", tensors).items():
                self.learning[name].copy_(as_part(weight, self.learning[name]))
        learning = list(self.learning.values())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, _, moment = name.partition(".")
            if tensor.dim():  # unlike the number of steps
                tensor = as_part(tensor, learning[int(index)])
            moments.setdefault(int(index), {})[moment] = tensor.clone()  # the file's pages are not the optimizer's
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        restore_generators(_under(_generator(self.team.rank), tensors), self.accelerator.device)
        replay(self.state.rows, self.state.samples, self.listener)

    def _train_batch(self, batches: Batches) -> bool:
        """Learns from the next batch; returns whether an optimizer step followed. Averages the gradients of
        `gradient_accumulation` batches per step, or of the batches left at the end of an epoch."""
        state, accumulation = self.state, self.settings.gradient_accumulation
        batch = batches[state.done]
        first = state.done - state.done % accumulation
        together = min(accumulation, len(batches) - first)
        complete = state.done == first + together - 1
        tries = count()

        def learn(at_once: int) -> tuple[Tensor, int]:
            if next(tries):  # memory was short, and some gradients of this batch lie among those of earlier ones
                self._clear_gradients()
                for earlier in batches[first : state.done]:
                    self._add_gradients(earlier, at_once, together, synchronise=False)
            return self._add_gradients(batch, at_once, together, synchronise=complete)

        rows = len(self.team.share(batch)) or 1
        if self.team.size == 1:
            loss, tokens = within_memory(learn, rows, self.room)
        else:  # no second try: the others would have a part of its gradients twice
            with memory_suffices("a process's batch of training.batch_size"):
                loss, tokens = learn(rows)
        if complete:
            self._update()
        self.unchecked.append(loss)
        state.done += 1
        state.steps += 1
        state.examples_seen += len(batch)
        self.tokens += tokens
        return complete

    def _add_gradients(self, batch: list[int], at_once: int, together: int, *, synchronise: bool) -> tuple[Tensor, int]:
        """Adds the gradients of the batch's mean loss, divided by `together`, `at_once` messages at a time; returns the
        loss and how many tokens were read. synchronise: whether processes that train together then share theirs."""
        if self.replayed is not None and at_once == len(batch):
            examples = self.train.split.batch(batch)
            return self.replayed(*examples.inputs, examples.targets), examples.tokens
        losses, read, last = [], 0, max(1, -(-len(self.team.share(batch)) // at_once))
        computed = self.train.losses(self.model, batch, at_once)
        for number in range(1, last + 1):
            with nullcontext() if synchronise and number == last else self.accelerator.no_sync(self.model):
                loss, tokens = next(computed)
                self.accelerator.backward(loss / together)
            losses.append(loss.detach())
            read += tokens
        return added(losses), read

    def _learn(self, *tensors: Tensor) -> Tensor:
        """Adds the gradients of a batch's mean loss; returns it. All that changes from batch to batch is in `tensors`,
        the inputs and the targets."""
        *inputs, targets = tensors
        loss = self.train.objective.loss(self.model(*inputs), targets)
        self.accelerator.backward(loss)
        return loss.detach()

    def _clear_gradients(self) -> None:
        """Recorded steps go on adding to the tensors that they know, so those stay where they are."""
        self.optimizer.zero_grad(set_to_none=self.replayed is None)

    def _update(self) -> None:
        """Takes one optimizer step at the schedule's learning rate."""
        settings, state = self.settings, self.state
        state.learning_rate = settings.learning_rate * learning_rate_factor(
            state.updates,
            schedule=settings.schedule,
            warmup_steps=settings.warmup_steps,
            total_steps=self.total_updates,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = state.learning_rate
        if settings.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(self.learning.values(), settings.gradient_clip)
        self.optimizer.step()
        self._clear_gradients()
        state.updates += 1

    def _evaluate(self) -> None:
        """Measures both splits and adds a row; training comes first, since both may draw random numbers."""
        self._settle()
        state, batches = self.state, self.settings.evaluate_batches
        order, first = self.order, self.team.first
        measured = {
            "train": self.train.measure(self.measured, first(lambda: order.train_sample(batches))),
            "validation": self.validation.measure(self.measured, first(lambda: order.validation_sample(batches))),
        }
        if not all(math.isfinite(split["loss"]) for split in measured.values()):
            raise _not_finite(f"measured after step {state.steps - 1}")
        row: Row = {
            "step": state.steps - 1,
            "epoch": state.steps / self.order.batches_per_epoch,
            "examples_seen": state.examples_seen,
            "tokens_seen": state.tokens_seen,
            "seconds": time.perf_counter() - self.started,
            "learning_rate": state.learning_rate,
        }
        row |= {f"{name}_{what}": value for name, split in measured.items() for what, value in split.items()}
        row = first(lambda: row)  # what is decided by it is decided alike, also where processors round differently
        state.rows.append(row)
        if self.settings.keep == "best" and best_row(state.rows) == len(state.rows) - 1:
            state.best = {name: whole(parameter).cpu().clone() for name, parameter in self.learning.items()}
        self.listener.on_row(row)

    def _checkpoint_is_due(self) -> bool:
        """Whether `checkpoint_every` batches have passed since the latest; accumulation may delay it."""
        every = self.settings.checkpoint_every
        return self.state.steps // every > self.saved_at // every

    def _out_of_patience(self) -> bool:
        """Whether the last `patience` whole epochs brought no lower validation loss."""
        if self.settings.patience is None or not self.state.rows:
            return False
        epoch_of_best = math.ceil(self.state.rows[best_row(self.state.rows)]["epoch"])
        return self.state.epoch - epoch_of_best >= self.settings.patience

    def _settle(self) -> None:
        """Adds up what all processes have counted since the last time. Raises `TrainingError` at the first loss since
        then that is infinite or not a number."""
        losses = torch.stack(self.unchecked).tolist() if self.unchecked else []
        every = self.team.all((losses, self.tokens))
        self.state.tokens_seen += sum(tokens for _, tokens in every)
        self.unchecked.clear()
        self.tokens = 0
        for behind, loss in zip(range(len(losses), 0, -1), zip(*(each for each, _ in every), strict=True), strict=True):
            if not all(map(math.isfinite, loss)):
                raise _not_finite(f"at step {self.state.steps - behind}")


def _not_finite(where: str) -> TrainingError:
    return TrainingError(
        f"The loss {where} is not a finite number: lower training.learning_rate, raise training.warmup_steps"
        " or set training.gradient_clip"
    )


def _generator(rank: int) -> str:
    """Returns how the names of a process's generators begin in a checkpoint."""
    return f"generator.{rank}." if rank else "generator."


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
