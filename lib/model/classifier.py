"""The classifier: a backbone, one pooled vector for each message, and a linear head."""

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
    """How texts become what a classifier reads, and how it computes, so that it does what it was trained to.

    encoding: the name of the encoding. max_length: tokens kept of each text. padding: as in `padding_width`.
    precision: arithmetic of the matrix products, "float32" or "bfloat16".
    """

    encoding: str
    max_length: int
    padding: Padding
    precision: str


class Classifier(nn.Module):
    """`labels[i]` is what column i of the logits stands for; `pooling` says which position feeds the head."""

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
        """Logits (batch, classes) float32 of padded messages; lengths (batch,) int64 of the real ones in them.

        inputs: tokens (batch, length) int64, padded at the right; or features (batch, length, emb_dim) floating point:
        the input of block `cut`, whatever it is at the padding.

        With `padded_last` the logits depend on the padding, which counts as text there. Otherwise they do not: no real
        position sees the padding.
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
        """Which position of each message feeds the head: (batch,) int64."""
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
    """A classifier with a head from scratch, frozen but for the part that `trainable` names.

    The head is made as the published procedure makes it: `torch.manual_seed(seed)`, then `nn.Linear` with
    torch's default initialisation. `adapt` comes after that; with `lora` it adds the adapters. Torch's global generator
    is put back afterwards; training seeds it again anyway.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = Classifier(backbone, labels, pooling=pooling)
        if adapt is not None:
            adapt(backbone)
    freeze(classifier, trainable)
    return classifier


def freeze(classifier: Classifier, trainable: Trainable) -> None:
    """Let only the named part learn: the head; with the final norm and the last block or two; everything; or the head
    and the adapters that the backbone has.

    With `all`, the token embedding learns as an input. As an output matrix it is not used any more, and one of its own
    never learns. Raises `ValueError` if there are no adapters to learn.
    """
    backbone = classifier.backbone
    classifier.cut = freeze_gpt(backbone, trainable)
    if backbone.output is not None:
        backbone.output.requires_grad_(False)
    classifier.head.requires_grad_(True)


def save_classifier(folder: Path, classifier: Classifier, usage: Usage) -> None:
    """Write model.safetensors (`backbone.*`, `head.*`), config.json (the shape), labels.json and inference.json
    (pooling, frozen blocks and `usage`) to `folder`.

    Raises `ValueError` if there are adapters that are not merged.
    """
    if adapters(classifier.backbone):
        raise ValueError("the classifier has adapters: merge them into its weights first")
    write_config(classifier.backbone.config, folder)
    save_json(list(classifier.labels), folder / LABELS)
    save_json({"pooling": classifier.pooling, "cut": classifier.cut, **asdict(usage)}, folder / INFERENCE)
    write_tensors(folder / WEIGHTS, classifier.state_dict())


def load_classifier(folder: Path) -> Classifier:
    """Read what `save_classifier` wrote, but for its `Usage`.

    It comes in float32, on the CPU, in eval mode. Raises `WeightsError` if a file is missing, damaged or does
    not fit the others.
    """
    saved = SavedFields(folder / INFERENCE)
    pooling, labels = saved.get("pooling", str), _read_labels(folder / LABELS)
    if pooling not in get_args(Pooling):
        raise saved.wrong("pooling", pooling)
    # The head's first numbers are drawn and overwritten at once; the global generator should not notice.
    with torch.random.fork_rng(devices=[]):
        classifier = Classifier(empty_gpt(read_config(folder)), labels, pooling=cast(Pooling, pooling))
    classifier.cut = saved.get("cut", int)
    fill_tensors(classifier.state_dict(), weights_file(folder))
    return classifier.eval()


def load_usage(folder: Path) -> Usage:
    """The `Usage` that `save_classifier` wrote; raises `WeightsError` if it is missing or damaged."""
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
    """Returns the probability of each class: (sequences, classes) float64; rows sum to 1.

    Sequences of tokens or features are cut to `max_length` and may come in any order: batches hold similar lengths, up
    to `batch_tokens` (None: what suits the device), padded as `padding` says only with the pooling that reads padding.
    The classifier is moved to `device`; its mode is left as it was.

    Raises `RecipeError` if padding, max_length and the model's context do not fit, `MessagesError` if a sequence is
    empty, `ValueError` if features are not what enters the classifier's block `cut`.
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
    """What `model` returns for each batch of inputs, on its device, without dropout or gradients; its mode is put back.

    For a classifier, as it is or wrapped for training, batches are `pad_batch`'s and come out as logits (batch,
    classes). `on_batch` hears how many rows are done.
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
    """The tensor on `device`. Towards a GPU it goes through pinned memory: from ordinary memory the host would wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _read_labels(file: Path) -> list[str]:
    """The file's JSON list; `WeightsError` if it has none."""
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file} does not exist: a classifier's folder must have it") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): train the classifier again") from error
    if not isinstance(labels, list):
        raise WeightsError(f"{file} must contain a JSON list: train the classifier again")
    return labels
