"""A classifier: a GPT backbone, one pooled vector per message and a linear head on it."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import LabelError, WeightsError
from lib.files.jsonfile import save_json
from lib.model.features.file import Features
from lib.model.gpt2.config import read_config, write_config
from lib.model.gpt2.freezing import adapters, freeze_gpt
from lib.model.gpt2.gpt import GPT, Block, empty_gpt
from lib.model.gpt2.sizes import require_vocabulary
from lib.model.machine.device import device_name
from lib.model.machine.threads import sensible_threads
from lib.model.trainable import Trainable
from lib.model.weights.folder import WEIGHTS, weights_file
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.model.weights.tensors import fill_tensors, write_tensors
from lib.progress import Progress, silent
from lib.text.batching import RUN_TOKENS, Padding, batches_by_tokens, pad_batch, padding_width

Pooling = Literal["last_token", "padded_last", "first_token", "mean"]  # the recipe's `classifier.pooling`

LABELS = "labels.json"


@dataclass(frozen=True)
class Usage:
    """How a saved classifier is used: its inputs and its arithmetic are those of training.

    encoding: the encoding's name. max_length: tokens kept of each text. padding: as in `padding_width`.
    precision: "float32" or "bfloat16", for the matrix products.
    """

    encoding: str
    max_length: int
    padding: Padding
    precision: str


class Classifier(nn.Module):
    """A backbone and a head; column i of the logits belongs to `labels[i]`, and `pooling` chooses the head's input."""

    def __init__(self, backbone: GPT, labels: Sequence[str], *, pooling: Pooling) -> None:
        super().__init__()
        require_vocabulary(backbone.config)
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise LabelError(f"A classifier needs two or more different labels, and was given {list(labels)}")
        self.backbone = backbone
        self.head = nn.Linear(backbone.config.emb_dim, len(labels))
        self.labels = tuple(labels)
        self.pooling = pooling
        self.cut = 0  # blocks below the first trainable parameter: features are what leaves them

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns logits (batch, classes) float32 of padded messages whose real lengths are `lengths` (batch,) int64.

        inputs: tokens (batch, length) int64, padded on the right; or features (batch, length, emb_dim) floating point,
        the input of block `cut`, with any values at the padding. Logits depend on the padding only with `padded_last`,
        which treats it as text.
        """
        rows = torch.arange(len(inputs), device=inputs.device)
        places = torch.arange(inputs.shape[1], device=inputs.device)
        causal, padding_is_text = self.backbone.config.causal_mask, self.pooling == "padded_last"
        real = places < (inputs.shape[1] if padding_is_text else lengths[:, None])  # (batch, length), or (length,)
        mask = None if causal or padding_is_text else real[:, None, None, :]
        x, start = (inputs.float(), self.cut) if inputs.is_floating_point() else (self.backbone.embed(inputs), 0)
        blocks = [cast(Block, block) for block in self.backbone.blocks[start:]]
        if self.pooling == "mean":
            for block in blocks:
                x = block(x, mask)
            x = self.backbone.final_norm(x)  # (batch, length, emb_dim)
            pooled = (x * real[:, :, None]).sum(dim=1) / lengths[:, None]
            return cast(Tensor, self.head(pooled)).float()
        position = self._position(inputs, lengths)
        for block in blocks[:-1]:
            x = block(x, mask)
        visible = places <= position[:, None] if causal else real.expand(inputs.shape[:2])
        pooled = blocks[-1].at(x, position, visible) if len(blocks) else x[rows, position]  # (batch, emb_dim)
        return cast(Tensor, self.head(self.backbone.final_norm(pooled))).float()

    def _position(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The position of each message that feeds the head: (batch,) int64."""
        if self.pooling == "last_token":
            return lengths - 1
        return torch.full_like(lengths, inputs.shape[1] - 1 if self.pooling == "padded_last" else 0)


def new_classifier(
    backbone: GPT,
    labels: Sequence[str],
    *,
    pooling: Pooling,
    trainable: Trainable,
    seed: int,
    adapt: Callable[[GPT], None] | None = None,
) -> Classifier:
    """Returns a classifier with a new head, frozen except for the part that `trainable` names.

    The head is made as in the published procedure: `torch.manual_seed(seed)`, then `nn.Linear` with torch's default
    initialisation. `adapt` runs after that; with `lora` it adds the adapters. Torch's global generator is left as it
    was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = Classifier(backbone, labels, pooling=pooling)
        if adapt is not None:
            adapt(backbone)
    freeze(classifier, trainable)
    return classifier


def freeze(classifier: Classifier, trainable: Trainable) -> None:
    """Makes only the named part trainable: the head, and with it nothing else, the final norm and the last block or
    two, everything, or the backbone's adapters; raises `ValueError` if `lora` finds no adapters.

    With `all`, the token embedding learns as an input; an untied output matrix is unused and never learns.
    """
    backbone = classifier.backbone
    classifier.cut = freeze_gpt(backbone, trainable)
    if backbone.output is not None:
        backbone.output.requires_grad_(False)
    classifier.head.requires_grad_(True)


def save_classifier(folder: Path, classifier: Classifier, usage: Usage) -> None:
    """Writes model.safetensors (`backbone.*`, `head.*`), config.json (the shape), labels.json and inference.json
    (pooling, frozen blocks and `usage`); raises `ValueError` if adapters are not merged."""
    if adapters(classifier.backbone):
        raise ValueError("the classifier has adapters: merge them into its weights first")
    write_config(classifier.backbone.config, folder)
    save_json(list(classifier.labels), folder / LABELS)
    save_json({"pooling": classifier.pooling, "cut": classifier.cut, **asdict(usage)}, folder / INFERENCE)
    write_tensors(folder / WEIGHTS, classifier.state_dict())


def load_classifier(folder: Path) -> Classifier:
    """Reads what `save_classifier` wrote, without its `Usage`: float32, on the CPU, in eval mode. Raises `WeightsError`
    if a file is missing or damaged, or does not fit the others."""
    saved = SavedFields(folder / INFERENCE)
    pooling, labels = saved.get("pooling", str), _read_labels(folder / LABELS)
    if pooling not in get_args(Pooling):
        raise saved.wrong("pooling", pooling)
    # The head's initial numbers are drawn and overwritten at once; keep the global generator out of it.
    with torch.random.fork_rng(devices=[]):
        classifier = Classifier(empty_gpt(read_config(folder)), labels, pooling=cast(Pooling, pooling))
    classifier.cut = saved.get("cut", int)
    fill_tensors(classifier.state_dict(), weights_file(folder))
    return classifier.eval()


def load_usage(folder: Path) -> Usage:
    """Reads the `Usage` that `save_classifier` wrote; raises `WeightsError` if it is missing or damaged."""
    saved = SavedFields(folder / INFERENCE)
    return Usage(
        encoding=saved.get("encoding", str),
        max_length=saved.get("max_length", int),
        padding=saved.get("padding", str | int),
        precision=saved.get("precision", str),
    )


def class_probabilities(
    classifier: Classifier,
    sequences: Sequence[Sequence[int] | Tensor],
    *,
    padding: Padding,
    max_length: int,
    batch_tokens: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = silent,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns the class probabilities (sequences, classes) float64 of sequences of tokens or features.

    Sequences are cut to `max_length` tokens, batched with others of similar length up to `batch_tokens` (None: what
    suits the device), and returned in their order. Only the pooling that reads padding pads them as `padding` says.
    Moves the classifier to `device`; its mode is left as it was.

    Raises `RecipeError` if padding, max_length and the model's context do not fit, `MessagesError` for an empty
    sequence, `ValueError` for features that do not enter the classifier's block `cut`.
    """
    context_length = classifier.backbone.config.context_length
    width = padding_width(padding, max_length=max_length, context_length=context_length)
    if classifier.pooling != "padded_last":
        width = None
    if not len(sequences):
        return np.empty((0, len(classifier.labels)))
    if isinstance(sequences, Features):
        sequences.require_blocks(classifier.cut)
    place = torch.device(device_name(device))
    classifier.to(place)
    count = len(sequences)
    lengths = [min(len(sequence), max_length) for sequence in sequences]
    order = batches_by_tokens(lengths, batch_tokens or RUN_TOKENS[place.type], width=width)
    batches = (pad_batch([sequences[index][:max_length] for index in batch], width) for batch in order)
    autocast = torch.autocast(place.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with sensible_threads(classifier.backbone.config.emb_dim), autocast:
        logits = torch.cat(run_batches(classifier, batches, on_batch=lambda done: progress(done, count, "messages")))
    probabilities = np.empty((count, len(classifier.labels)))
    probabilities[np.concatenate(order)] = logits.double().softmax(dim=1).cpu().numpy()
    return probabilities


@torch.inference_mode()
def run_batches(
    model: nn.Module, batches: Iterable[tuple[Tensor, ...]], *, on_batch: Callable[[int], None] = lambda _: None
) -> list[Tensor]:
    """Returns the model's output for each batch of inputs, without dropout or gradients; its mode is left as it was.

    A classifier, plain or wrapped for training, takes `pad_batch`'s batches and returns logits (batch, classes).
    `on_batch` receives the number of rows done.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    outputs: list[Tensor] = []
    done = 0
    try:
        for inputs in batches:
            outputs.append(model(*(on_device(each, device) for each in inputs)))
            done += len(inputs[0])
            on_batch(done)
    finally:
        model.train(was_training)
    return outputs


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns the tensor on `device`; a copy to a GPU uses pinned memory, so that the host does not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _read_labels(file: Path) -> list[str]:
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file} does not exist: a classifier's folder must have it") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): train the classifier again") from error
    if not isinstance(labels, list):
        raise WeightsError(f"{file} must contain a JSON list: train the classifier again")
    return labels
