"""A classifier: a backbone, which makes one vector of each text, and a linear head on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import LabelError
from lib.files.jsonfile import save_json
from lib.model.adapters import adapters
from lib.model.backbone import Backbone, Pooling
from lib.model.features.file import Features, KeptFeatures
from lib.model.gpt2.pooled import PooledGPT, load_pooled_gpt
from lib.model.hugging_face.pooled import PooledTransformer, load_pooled_transformer
from lib.model.labels import Probabilities
from lib.model.machine.cuda import on_device, to_host
from lib.model.machine.device import device_name
from lib.model.machine.fast import fast
from lib.model.machine.memory import Room, parts, within_memory
from lib.model.machine.shards import has_parts
from lib.model.padding import pad_batch
from lib.model.trainable import Trainable
from lib.model.usage import LABELS, Usage, load_labels
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.progress import Progress, silent
from lib.text.batching import RUN_TOKENS, Padding, batches_by_tokens, padding_width
from lib.text.windows import Tokens, Windows, lengths_of, rows_of

# From a saved classifier's folder, pooling and labels to its backbone and head, by the network that computes it.
LOADERS: dict[str, Callable[[Path, Pooling, Sequence[str]], tuple[Backbone, nn.Linear]]] = {
    PooledGPT.network: load_pooled_gpt,
    PooledTransformer.network: load_pooled_transformer,
}


class Classifier(nn.Module):
    """A backbone and a head; column i of the logits belongs to `labels[i]`."""

    def __init__(self, backbone: Backbone, labels: Sequence[str], *, head: nn.Linear | None = None) -> None:
        super().__init__()
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise LabelError(f"A classifier needs two or more different labels, and was given {list(labels)}")
        self.backbone = backbone
        self.head = nn.Linear(backbone.pooled_width, len(labels), bias=backbone.head_bias) if head is None else head
        self.labels = tuple(labels)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns logits (batch, classes) float32; the arguments are those of `Backbone.pooled`."""
        return cast(Tensor, self.head(self.backbone.pooled(inputs, lengths))).float()


def new_classifier(
    backbone: Backbone,
    labels: Sequence[str],
    *,
    trainable: Trainable,
    seed: int,
    adapt: Callable[[Backbone], None] | None = None,
    head: nn.Linear | None = None,
) -> Classifier:
    """Returns a classifier with a new head, or with `head`, frozen except for the part that `trainable` names.

    A new head is made as in the published procedure: `torch.manual_seed(seed)`, then `nn.Linear` with torch's default
    initialisation. `adapt` runs after that; with `lora` it adds the adapters. Torch's global generator is left as it
    was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = Classifier(backbone, labels, head=head)
        if adapt is not None:
            adapt(backbone)
    freeze(classifier, trainable)
    return classifier


def reordered(head: nn.Linear, stored: Sequence[str], labels: Sequence[str]) -> nn.Linear:
    """Returns a head whose rows, stored in the order of some labels, have the order of `labels`, which are the same."""
    rows = torch.tensor([list(stored).index(label) for label in labels])
    ordered = nn.Linear(head.in_features, len(labels), bias=head.bias is not None, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        ordered.weight.copy_(head.weight[rows])
        if head.bias is not None:
            ordered.bias.copy_(head.bias[rows])
    return ordered


def freeze(classifier: Classifier, trainable: Trainable) -> None:
    """Makes only the named part trainable: the head, and with it nothing else, what follows the last block and the last
    block or two, everything, or the backbone's adapters; raises `ValueError` if `lora` finds no adapters."""
    classifier.backbone.freeze(trainable)
    classifier.head.requires_grad_(True)


def save_classifier(folder: Path, classifier: Classifier, usage: Usage) -> None:
    """Writes config.json and model.safetensors in Hugging Face layout, labels.json, and inference.json (network,
    pooling, frozen blocks and `usage`); raises `ValueError` if adapters are not merged."""
    backbone = classifier.backbone
    if adapters(classifier):
        raise ValueError("the classifier has adapters: merge them into its weights first")
    backbone.save(folder, classifier.head, classifier.labels)
    save_json(list(classifier.labels), folder / LABELS)
    save_json({**backbone.use(), **usage.as_fields()}, folder / INFERENCE)


def load_classifier(folder: Path) -> Classifier:
    """Reads what `save_classifier` wrote, without its `Usage`: float32, on the CPU, in eval mode. Raises `WeightsError`
    if a file is missing or damaged, or does not fit the others."""
    saved = SavedFields(folder / INFERENCE)
    pooling, cut, labels = saved.get("pooling", str), saved.get("cut", int), load_labels(folder)
    if pooling not in get_args(Pooling):
        raise saved.wrong("pooling", pooling)
    network = saved.get("network", str)
    if network not in LOADERS:
        raise saved.wrong("network", network)
    backbone, head = LOADERS[network](folder, cast(Pooling, pooling), labels)
    classifier = Classifier(backbone, labels, head=head)
    backbone.cut = cut
    return classifier.eval()


def class_probabilities(
    classifier: Classifier,
    texts: Sequence[Tokens | Tensor] | Windows[Any],
    *,
    padding: Padding,
    max_length: int,
    batch_tokens: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = silent,
) -> Probabilities:
    """Returns the class probabilities (texts, classes) float64 of the tokens or features of texts, or of their windows.

    Rows are cut to `max_length` tokens, batched with others of similar length up to `batch_tokens` (None: what suits
    the device), and answered in their order. Only the pooling that reads padding pads them as `padding` says. Moves the
    classifier to `device`; its mode is left as it was.

    Raises `RecipeError` if padding, max_length and the model's context do not fit, `MessagesError` for an empty row,
    `ValueError` for features that do not enter the classifier's block `cut`.
    """
    return begin_probabilities(
        classifier,
        texts,
        padding=padding,
        max_length=max_length,
        batch_tokens=batch_tokens,
        device=device,
        precision=precision,
        progress=progress,
    )()


def begin_probabilities(
    classifier: Classifier,
    texts: Sequence[Tokens | Tensor] | Windows[Any],
    *,
    padding: Padding,
    max_length: int,
    batch_tokens: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = silent,
) -> Callable[[], Probabilities]:
    """As `class_probabilities`, but returns what waits for them; a GPU computes meanwhile."""
    sequences = rows_of(texts)
    backbone = classifier.backbone
    width = padding_width(padding, max_length=max_length, context_length=backbone.context_length)
    if backbone.pooling != "padded_last":
        width = None
    if not len(sequences):
        return lambda: np.empty((0, len(classifier.labels)))
    if isinstance(sequences, KeptFeatures):
        sequences.require_blocks(backbone.cut)
    place = torch.device(device_name(device))
    classifier.to(place)
    count = len(sequences)
    lengths = np.minimum(lengths_of(sequences), max_length)
    order = batches_by_tokens(lengths, batch_tokens or RUN_TOKENS[place.type], width=width)
    room, logits, done = Room(), [], 0
    autocast = torch.autocast(place.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with fast(classifier, backbone.width), autocast, evaluating(classifier):
        for batch in order:
            if isinstance(sequences, Features) and sequences.resident:
                inputs = sequences.padded(batch, int(lengths[batch[-1]]))
            else:
                inputs = pad_batch([sequences[index][:max_length] for index in batch.tolist()], width, pad=backbone.pad)
            logits.append(_logits(classifier, *inputs, place, room))
            done += len(batch)
            progress(done * len(texts) // count, len(texts), "messages")
    sorted_logits = to_host(torch.cat(logits).double())

    def finish() -> Probabilities:
        in_order = np.empty((count, len(classifier.labels)))
        in_order[np.concatenate(order)] = sorted_logits().numpy()
        of_texts = texts.pooled(in_order) if isinstance(texts, Windows) else in_order
        probabilities: Probabilities = torch.from_numpy(of_texts).softmax(dim=1).numpy()
        return probabilities

    return finish


def _logits(classifier: Classifier, inputs: Tensor, lengths: Tensor, device: torch.device, room: Room) -> Tensor:
    """Returns (batch, classes) of padded rows, in parts where memory is short of `room`, in tokens."""

    def work(at_once: int) -> Tensor:
        cuts = parts(len(inputs), at_once)
        return torch.cat([classifier(on_device(inputs[cut], device), on_device(lengths[cut], device)) for cut in cuts])

    return within_memory(work, len(inputs), room, each=inputs.shape[1])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside the block the model computes without dropout or gradients; its mode is left as it was."""
    was_training = model.training
    model.eval()
    # What FSDP gathers in inference mode could not be learned from afterwards.
    gradless = torch.no_grad if has_parts(model) else torch.inference_mode
    try:
        with gradless():
            yield
    finally:
        model.train(was_training)
