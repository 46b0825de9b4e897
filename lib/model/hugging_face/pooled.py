"""A network of transformers as the backbone of a classifier: one vector for each text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib.errors import RecipeError
from lib.files.jsonfile import load_json
from lib.model.adapters import AdapterParts, adapted_layers, adapters, add_adapters
from lib.model.backbone import Pooling
from lib.model.hugging_face.blocks import Blocks, modules_after
from lib.model.hugging_face.loading import POOLER, drop, load_config, load_network, quiet
from lib.model.hugging_face.masks import masks_without_looking
from lib.model.hugging_face.narrow import Narrowing, close, find_narrowing
from lib.model.trainable import Trainable, frozen_blocks
from lib.model.weights.folder import CONFIG
from lib.model.weights.saved import INFERENCE, SavedFields, save_classifier_config

CLASSIFIER = "AutoModelForSequenceClassification"
PROBE = (7, 4)  # real lengths of the two texts that a network is tried with
OWN_POOLING = "classifier_pooling"  # the field of a family whose classifier offers several


class PooledTransformer(nn.Module):
    """A `Backbone`: transformers' own classifier of the family, whose last linear layer is taken out as the head.

    `cls` of an encoder is what the family's classifier does, with the layers that it has between [CLS] and the head;
    any other pooling is of the vectors that leave the network. causal_mask: False lets all positions of a decoder see
    each other. Raises `RecipeError` if pooling or mask do not fit the network.
    """

    network = "transformers"

    def __init__(
        self, classifier: nn.Module, *, pooling: Pooling, context_length: int, pad: int, causal_mask: bool = True
    ) -> None:
        super().__init__()
        self.transformer = classifier.eval()
        self._config = cast(Any, classifier.config)
        self.family = str(self._config.model_type)
        self.pooling, self.context_length, self.pad, self.causal_mask = pooling, context_length, pad, causal_mask
        self.cut = 0
        text = self._config.get_text_config()
        self.width, self.depth = int(text.hidden_size), int(text.num_hidden_layers)
        self._filler = 0 if pad else 1  # a token that is no padding
        self._masked = True  # whether the network's own mask is used, not one of ours
        self._own = True  # whether the family's own classifier pools
        self.blocks = Blocks(classifier, self.depth)
        self.blocks.learn_forms(self._probe)
        head = modules_after(classifier, self.blocks, self._probe)[-1]
        self._head_path = next(name for name, module in classifier.named_modules() if module is head)
        assert isinstance(head, nn.Linear), "a family's classifier ends in a linear layer"
        self.head_bias = head.bias is not None
        self._taken = (head,)  # in a tuple, so that it is no part of this module
        self._place_head(nn.Identity())
        causal = self._is_causal()
        self._masked = causal_mask or not causal
        self.family_pooling: Pooling = "last_token" if causal else "cls"
        self._own = not causal and (pooling == "cls" or (pooling == "mean" and hasattr(self._config, OWN_POOLING)))
        self.standard = self._own or (causal and causal_mask and pooling == "last_token")
        self.pooled_width = int(head.in_features) if self._own else self.width
        if pooling == "padded_last" or (causal and pooling == "cls"):
            raise RecipeError(
                f"classifier.pooling is {pooling!r}, which {self._config.model_type} does not have: choose"
                f" {'last_token or mean' if causal else 'cls or mean'}, or auto"
            )
        if not self._masked and not self._opens():
            raise RecipeError(
                f"model.causal_mask is false, and {self.family} cannot be computed without its causal mask: leave it"
                " true"
            )
        self._narrowing: Narrowing | None = None

    @property
    def config(self) -> object:
        return self._config

    def pooled(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns (batch, pooled_width); it does not depend on the padding."""
        if self._narrowing is None:
            self._narrowing = self._find_narrowing()
        if not inputs.is_floating_point():
            return self._read(inputs, lengths, self._narrowing)
        with self.blocks.passed_over(self.cut, inputs.float()):
            return self._read(self._fillers(inputs.shape[1], lengths), lengths, self._narrowing)

    def whole(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Returns (batch, pooled_width), every layer at every position, as its makers wrote it."""
        return self._pool(self._run(tokens, lengths), self._position(lengths), lengths)

    def take_head(self) -> nn.Linear:
        """Returns the linear layer that was taken out."""
        (head,) = self._taken
        return head

    def frozen_part(self, tokens: Tensor, lengths: Tensor, blocks: int) -> Tensor:
        """Returns what leaves the first `blocks` blocks: (batch, length, width)."""
        return self.blocks.output_of(blocks, lambda: self._run(tokens, lengths))

    def frozen_modules(self, blocks: int) -> Iterable[nn.Module]:
        return self.blocks.modules[:blocks].modules()

    def freeze(self, trainable: Trainable) -> None:
        """With `head`, what the family's classifier has between the network and the head learns too: it is new. Raises
        `RecipeError` for a part of a network that cannot be cut."""
        if trainable not in ("head", "all"):
            self._require_blocks(trainable)
        adapted = [index for index, block in enumerate(self.blocks.modules) if adapters(block)]
        if trainable == "lora" and not adapted:
            raise ValueError("trainable is 'lora', and the network has no adapters: add them first")
        self.cut = frozen_blocks(trainable, self.depth, lora_blocks=self.depth - adapted[0] if adapted else None)
        self.transformer.requires_grad_(trainable == "all")
        base = {id(parameter) for parameter in self._base.parameters()}
        for parameter in self.transformer.parameters():
            if id(parameter) not in base and self._own:
                parameter.requires_grad_(True)
        for parameter in adapters(self.transformer) if trainable == "lora" else ():
            parameter.requires_grad_(True)
        if trainable in ("last_block", "last_two_blocks"):
            self.blocks.modules[self.cut :].requires_grad_(True)
            for module in modules_after(self.transformer, self.blocks, self._probe):
                module.requires_grad_(True)

    def add_adapters(self, **settings: Any) -> None:
        self._require_blocks("lora")
        add_adapters(self.transformer, self.blocks.modules, **settings)
        self._narrowing = None  # other layers compute now

    def adapter_parts(self, head: nn.Linear) -> AdapterParts:
        """What only a classifier has is kept whole, and a pooling layer, which weights may come without."""
        self._place_head(head)
        try:
            children = dict(self.transformer.named_children())
            whole = {
                name: module
                for name, module in children.items()
                if module is not self._base and next(module.parameters(), None) is not None
            }
            whole |= {name: module for name, module in self.transformer.named_modules() if name.endswith(f".{POOLER}")}
            tensors = {
                f"{name}.{each}": tensor
                for name, module in whole.items()
                for each, tensor in module.state_dict().items()
            }
        finally:
            self._place_head(nn.Identity())
        layers = adapted_layers(self.transformer)
        modules = [name.rpartition(".")[2] for name in whole]
        conv = any(type(cast(Any, layer).get_base_layer()).__name__ == "Conv1D" for layer in layers.values())
        return AdapterParts(layers, modules, tensors, transposed=conv)

    def use(self) -> dict[str, object]:
        kept = ("network", "pooling", "cut", "context_length", "pad", "causal_mask")
        return {name: getattr(self, name) for name in kept}

    def save(self, folder: Path, head: nn.Linear, labels: Sequence[str]) -> None:
        """Writes what the family's class in transformers reads, if that computes the same."""
        self._place_head(head)
        try:
            with quiet():
                cast(Any, self.transformer).save_pretrained(folder)
        finally:
            self._place_head(nn.Identity())
        save_classifier_config(
            folder,
            load_json(folder / CONFIG),
            labels,
            standard=self.standard,
            pooling=self.pooling,
            causal_mask=self.causal_mask,
        )

    @property
    def _base(self) -> nn.Module:
        return cast(nn.Module, self.transformer.base_model)

    def _read(self, tokens: Tensor, lengths: Tensor, narrowing: Narrowing) -> Tensor:
        """Runs the network and pools: (batch, pooled_width)."""
        position = self._position(lengths)
        narrowed: AbstractContextManager[None] = nullcontext()
        if position is not None:
            narrowed = narrowing.at(position, tokens.shape[1])
        with narrowed:
            output = self._run(tokens, lengths)
        return self._pool(output, position, lengths)

    def _pool(self, output: Any, position: Tensor | None, lengths: Tensor) -> Tensor:
        if self._own:
            return cast(Tensor, output.logits)  # of the identity that stands for the head
        hidden: Tensor = output.last_hidden_state  # (batch, length, width)
        if position is not None:
            return hidden[torch.arange(hidden.shape[0], device=hidden.device), position]
        real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        return (hidden * real[:, :, None]).sum(dim=1) / lengths[:, None]

    def _position(self, lengths: Tensor) -> Tensor | None:
        """The position of each text that is read: (batch,) int64; None: all of them are."""
        if self.pooling == "mean":
            return None
        return lengths - 1 if self.pooling == "last_token" else torch.zeros_like(lengths)

    def _run(self, tokens: Tensor, lengths: Tensor) -> Any:
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # (batch, length)
        mask = real.long()
        if not self._masked:  # of four axes, so that the network takes it as it is: (batch, 1, length, positions)
            seen = real[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
            mask = torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, torch.finfo(torch.float32).min)
        with masks_without_looking(tokens.device):
            return (self.transformer if self._own else self._base)(input_ids=tokens, attention_mask=mask)

    def _fillers(self, length: int, lengths: Tensor) -> Tensor:
        """Tokens (batch, length) int64 that say only where padding begins: what they embed is passed over."""
        real = torch.arange(length, device=lengths.device) < lengths[:, None]
        return torch.where(real, self._filler, self.pad)

    def _probe(self) -> Any:
        """Runs two short texts, without gradients."""
        device = next(self.transformer.parameters()).device
        lengths = torch.tensor(PROBE, device=device)
        with torch.no_grad():
            return self._run(self._fillers(max(PROBE), lengths), lengths)

    def _is_causal(self) -> bool:
        """Whether a position does not see those after it."""
        lengths = torch.tensor(PROBE[:1])
        tokens = self._fillers(PROBE[0], lengths)
        other = tokens.clone()
        other[0, -1] = self._filler + 1 if self._filler + 1 != self.pad else self._filler + 2
        with torch.no_grad():
            first = [self._base(input_ids=each).last_hidden_state[0, 0] for each in (tokens, other)]
        return bool(torch.equal(*first))

    def _opens(self) -> bool:
        """Whether without the causal mask a position sees those after it, and no padding."""
        length, shorter = PROBE
        tokens = torch.full((3, length), self._filler)
        tokens[1, -1] = self._filler + 1 if self._filler + 1 != self.pad else self._filler + 2
        tokens[2, shorter:] = self.pad
        lengths = torch.tensor([length, length, shorter])
        try:
            with torch.no_grad():
                found = self._run(tokens, lengths).last_hidden_state[:, 0]
                alone = self._run(tokens[2:, :shorter], lengths[2:]).last_hidden_state[:, 0]
        except (RuntimeError, ValueError, IndexError):  # a family that makes positions of the mask, for example
            return False
        return not close(found[0], found[1]) and close(found[2:], alone)

    def _find_narrowing(self) -> Narrowing:
        """Finds what of the last block needs only the position that is read."""
        training = self.training
        self.eval()
        device = next(self.transformer.parameters()).device
        lengths = torch.tensor(PROBE, device=device)
        tokens, position = self._fillers(max(PROBE), lengths), self._position(lengths)
        try:
            with torch.no_grad():
                if position is None or not len(self.blocks):
                    return Narrowing()
                generator = torch.Generator().manual_seed(0)
                x = torch.randn(len(PROBE), max(PROBE), self.width, generator=generator).to(device)

                def run() -> Tensor:
                    with self.blocks.passed_over(self.depth - 1, x):
                        return self._read(tokens, lengths, Narrowing())

                return find_narrowing(self.blocks.modules[-1], run, position, max(PROBE))
        finally:
            self.train(training)

    def _require_blocks(self, trainable: Trainable) -> None:
        if self.blocks.uncut:
            raise RecipeError(
                f"classifier.trainable is {trainable!r}, but {self.family} cannot be cut ({self.blocks.uncut}): choose"
                " 'all', or 'head'"
            )

    def _place_head(self, head: nn.Module) -> None:
        """Puts the head, or what stands for it, where the family's classifier has it."""
        parent, _, name = self._head_path.rpartition(".")
        setattr(self.transformer.get_submodule(parent), name, head)


def load_backbone(
    folder: Path,
    labels: Sequence[str],
    *,
    pooling: Pooling,
    context_length: int,
    pad: int,
    dropout: float = 0.0,
    causal_mask: bool = True,
    seed: int = 0,
    new_head: bool = True,
) -> PooledTransformer:
    """Returns the network in `folder` as the backbone of a new classifier of these labels.

    Layers that only a classifier has may be new (`new_head`), drawn with `seed`; torch's global generator is left as it
    was. A head of as many labels that is there can be taken (`PooledTransformer.take_head`). Raises
    `WeightsError` if the folder has no whole network that transformers can make a classifier of, `RecipeError` if
    pooling or mask do not fit it.
    """
    config = load_config(folder, **_changes(labels, pad))
    if hasattr(config, OWN_POOLING) and pooling in ("cls", "mean"):
        setattr(config, OWN_POOLING, pooling)
    drop(config, dropout)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = load_network(CLASSIFIER, folder, config, new_head=new_head)
    return PooledTransformer(
        classifier, pooling=pooling, context_length=context_length, pad=pad, causal_mask=causal_mask
    )


def load_pooled_transformer(
    folder: Path, pooling: Pooling, labels: Sequence[str]
) -> tuple[PooledTransformer, nn.Linear]:
    """Reads what `PooledTransformer.save` wrote, and its head; raises `WeightsError` as `load_backbone` does."""
    saved = SavedFields(folder / INFERENCE)
    pad = saved.get("pad", int)
    classifier = load_network(CLASSIFIER, folder, load_config(folder, **_changes(labels, pad)))
    backbone = PooledTransformer(
        classifier,
        pooling=pooling,
        context_length=saved.get("context_length", int),
        pad=pad,
        causal_mask=saved.get("causal_mask", bool),
    )
    return backbone, backbone.take_head()


def _changes(labels: Sequence[str], pad: int) -> Mapping[str, Any]:
    """The fields of a config that a classifier of these labels has."""
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "pad_token_id": pad,
        "use_cache": False,
    }
