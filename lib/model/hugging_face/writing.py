"""A decoder of transformers as a language model: what writes text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib.errors import RecipeError, WeightsError
from lib.model.adapters import adapters, add_adapters
from lib.model.choice import Choice, require_tokens
from lib.model.hugging_face.blocks import Blocks, modules_after
from lib.model.hugging_face.loading import drop, load_config, load_network, quiet
from lib.model.language_model import Continuation, Writing
from lib.model.machine.fast import fast
from lib.model.trainable import Trainable, frozen_blocks
from lib.model.weights.folder import GENERATION, read_fields
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.progress import Progress, silent

WRITER = "AutoModelForCausalLM"
PROBE = (1, 2, 1, 3, 2)  # tokens that a network is tried with
CLOSE = 1e-5  # difference of logits, relative to the largest, that rounding explains


class WritingTransformer(nn.Module):
    """A `LanguageModel`: transformers' own network of the family for predicting the next token.

    context_length: tokens that prompt and answer may have together. pad: the tokenizer's padding. stops: the tokens
    that end a text by the weights' own generation_config.json. Raises `WeightsError` if the network computes logits
    from anything but the vectors of its last block.
    """

    network = "transformers"

    def __init__(self, network: nn.Module, *, context_length: int, pad: int, stops: Sequence[int] = ()) -> None:
        super().__init__()
        self.transformer = network
        self._config = cast(Any, network.config)
        self.context_length, self.pad, self.stops = context_length, pad, tuple(stops)
        self._checkpointing = False
        text = self._config.get_text_config()
        self.width, self._depth = int(text.hidden_size), int(text.num_hidden_layers)
        self.eval()
        self._trunk_path, self._output = self._find_trunk()
        self._check()

    @property
    def config(self) -> object:
        return self._config

    @property
    def longest_prompt(self) -> int:
        return self.context_length - 1

    @property
    def gradient_checkpointing(self) -> bool:
        return self._checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, used: bool) -> None:
        self._checkpointing = used
        network = cast(Any, self.transformer)
        if used:
            network.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            network.activation_checkpointing_disable()

    def hidden(self, tokens: Tensor) -> Tensor:
        """Returns (batch, length, width); on the right, padding needs no mask, because nothing sees it."""
        return cast(Tensor, self._trunk(input_ids=tokens, use_cache=False).last_hidden_state)

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns (rows, vocabulary), as the family makes them of (rows, width): scaled or capped, if it does that."""
        output = self._output(last_hidden_state=hidden[None])
        filler = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)  # what it embeds is passed over
        with _returning(self._trunk, output):
            return cast(Tensor, self.transformer(input_ids=filler, use_cache=False).logits)[0]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        writing: Writing,
        *,
        stops: Sequence[int],
        precision: str = "float32",
        progress: Progress = silent,
    ) -> list[Continuation]:
        """Writes on after each prompt by transformers' `generate`, with its cache.

        Rows are padded on the left, and nobody sees the padding. Unlike with our GPT, no text becomes longer than the
        context; raises `RecipeError` for a prompt that fills it, besides what `LanguageModel.generate` raises.
        """
        choice = Choice(writing.temperature, writing.top_k, writing.top_p)
        for name, value in (("max_new_tokens", writing.max_new_tokens), ("batch_size", writing.batch_size)):
            if value < 1:
                raise RecipeError(f"{name} is {value}: use 1 or more")
        require_tokens(self._vocabulary, prompts, stops)
        longest = max(map(len, prompts), default=0)
        if longest > self.longest_prompt:
            raise RecipeError(f"a prompt has {longest} tokens, and the model sees {self.context_length}: shorten it")
        found: dict[int, Continuation] = {}
        place = next(self.transformer.parameters()).device.type
        autocast = torch.autocast(place, dtype=torch.bfloat16, enabled=precision == "bfloat16")
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode(), fast(self, self.width), autocast, quiet():
                for rows in self._batches(list(map(len, prompts)), writing):
                    batch = self._write([prompts[row] for row in rows], choice, writing, stops)
                    found.update(zip(rows, batch, strict=True))
                    progress(len(found) * writing.max_new_tokens, len(prompts) * writing.max_new_tokens, "tokens")
        finally:
            self.train(was_training)
        return [found[row] for row in range(len(prompts))]

    def freeze(self, trainable: Trainable) -> None:
        """Raises `RecipeError` too, if the blocks cannot be told apart."""
        adapted = adapters(self.transformer)
        if trainable == "lora" and not adapted:
            raise ValueError("trainable is 'lora', and the network has no adapters: add them first")
        self.transformer.requires_grad_(trainable == "all")
        if trainable == "lora":
            for parameter in adapted:
                parameter.requires_grad_(True)
        elif trainable in ("last_block", "last_two_blocks"):
            blocks = self._blocks()
            blocks.modules[frozen_blocks(trainable, self._depth) :].requires_grad_(True)
            for module in modules_after(self._trunk, blocks, self._probe):
                module.requires_grad_(True)

    def add_adapters(self, **settings: Any) -> None:
        add_adapters(self.transformer, self._blocks().modules, **settings)

    def use(self) -> dict[str, object]:
        return {"network": self.network, "context_length": self.context_length, "pad": self.pad}

    def save(self, folder: Path, stops: Sequence[int]) -> None:
        """Writes generation_config.json too: transformers' `generate` ends a text at `stops`, and draws nothing unless
        it is asked to."""
        from transformers import GenerationConfig

        network = cast(Any, self.transformer)
        network.generation_config = GenerationConfig(eos_token_id=list(stops), pad_token_id=self.pad)
        with quiet():
            network.save_pretrained(folder)

    @property
    def _trunk(self) -> nn.Module:
        """All that comes before the output matrix."""
        return self.transformer.get_submodule(self._trunk_path)

    @property
    def _vocabulary(self) -> int:
        return int(cast(Any, self.transformer).get_input_embeddings().weight.shape[0])

    def _blocks(self) -> Blocks:
        try:
            return Blocks(self._trunk, self._depth)
        except LookupError as error:
            raise RecipeError(
                f"the {self._config.model_type} can learn as a whole only ({error}): set training.trainable to all"
            ) from error

    def _probe(self) -> Tensor:
        """Runs a few tokens, without gradients."""
        with torch.no_grad():
            return self.hidden(torch.tensor([PROBE], device=next(self.transformer.parameters()).device))

    def _find_trunk(self) -> tuple[str, type[Any]]:
        """Returns the name of the last module that returns vectors, and the class that it returns them in. In some
        families it lies inside the base model."""
        found: list[tuple[str, type[Any]]] = []
        hooks = []
        for name, module in self.transformer.named_modules():

            def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:  # noqa: ARG001
                if hasattr(output, "last_hidden_state"):
                    found.append((name, type(output)))

            hooks.append(module.register_forward_hook(note))
        with torch.no_grad():
            self.transformer(input_ids=torch.tensor([PROBE]), use_cache=False)
        for hook in hooks:
            hook.remove()
        return found[-1]

    def _check(self) -> None:
        tokens = torch.tensor([PROBE])
        with torch.no_grad():
            whole = self.transformer(input_ids=tokens, use_cache=False).logits[0]
            found = self.logits(self.hidden(tokens)[0])
        if float((found - whole).abs().max()) > CLOSE * max(1.0, float(whole.abs().max())):
            raise WeightsError(
                f"the {self._config.model_type} predicts a token from more than the vectors of its last block: choose"
                " another model"
            )

    def _batches(self, lengths: Sequence[int], writing: Writing) -> list[list[int]]:
        """Groups prompts of similar length. One near the context is written alone: transformers lets every row of a
        batch go on until the last is done, and would count its positions past the context."""
        batches: list[list[int]] = []
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            alone = lengths[row] + writing.max_new_tokens > self.context_length
            if not batches or alone or len(batches[-1]) == writing.batch_size:
                batches.append([])
            batches[-1].append(row)
        return batches

    def _write(
        self,
        prompts: Sequence[Sequence[int]],
        choice: Choice,
        writing: Writing,
        stops: Sequence[int],
    ) -> list[Continuation]:
        """Writes on after each prompt of a batch."""
        from transformers import GenerationConfig, LogitsProcessorList

        device = next(self.transformer.parameters()).device
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        rows = [[self.pad] * missing + [*prompt] for missing, prompt in zip(padding, prompts, strict=True)]
        real = torch.arange(longest) >= torch.tensor(padding)[:, None]  # (batch, longest)
        room = min(writing.max_new_tokens, self.context_length - longest)
        network = cast(Any, self.transformer)
        network.generation_config = GenerationConfig()  # what the weights came with draws, or punishes repetition
        output = network.generate(
            input_ids=torch.tensor(rows, device=device),
            attention_mask=real.long().to(device),
            generation_config=GenerationConfig(
                max_new_tokens=room, do_sample=False, eos_token_id=list(stops) or None, pad_token_id=self.pad
            ),
            logits_processor=LogitsProcessorList([_Drawing(choice, len(prompts), writing.seed)]),
        )
        return [_ended(tokens, stops) for tokens in output[:, longest:].tolist()]


class _Drawing:
    """Leaves of each row's scores only the token that is chosen, so that transformers' greedy search takes it."""

    def __init__(self, choice: Choice, rows: int, seed: int | None) -> None:
        self._choice, self._generators = choice, [torch.Generator() for _ in range(rows)]
        for generator in self._generators:
            generator.seed() if seed is None else generator.manual_seed(seed)

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' signature
        chosen = torch.tensor(self._choice.tokens(scores.float(), self._generators), device=scores.device)
        return torch.full_like(scores, -math.inf).scatter(1, chosen[:, None], 0)


def _ended(tokens: Sequence[int], stops: Sequence[int]) -> Continuation:
    """Cuts what transformers wrote behind a row's end while others went on."""
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens))
    return Continuation(list(tokens[:end]), stopped=end < len(tokens))


@contextmanager
def _returning(trunk: nn.Module, output: Any) -> Iterator[None]:
    """Inside the block, `trunk` computes nothing and returns `output`."""
    returned: Callable[..., Any] = lambda *inputs, **options: output  # noqa: E731
    trunk.forward = returned
    try:
        yield
    finally:
        trunk.__dict__.pop("forward", None)  # the class's own shows again


def pretrained_transformer(folder: Path, *, context_length: int, pad: int, dropout: float = 0.0) -> WritingTransformer:
    """Returns the pretrained decoder in `folder`, in float32 on the CPU. Raises `WeightsError` if there is no whole one
    that transformers knows."""
    config = load_config(folder)
    drop(config, dropout)
    network = load_network(WRITER, folder, config)
    return WritingTransformer(network, context_length=context_length, pad=pad, stops=_stops(folder, config))


def load_writing_transformer(folder: Path) -> WritingTransformer:
    """Reads what `WritingTransformer.save` wrote; raises `WeightsError` as `pretrained_transformer` does."""
    saved = SavedFields(folder / INFERENCE)
    return pretrained_transformer(folder, context_length=saved.get("context_length", int), pad=saved.get("pad", int))


def _stops(folder: Path, config: Any) -> tuple[int, ...]:
    """Returns the tokens that end a text by generation_config.json, or else by config.json."""
    file = folder / GENERATION
    fields = read_fields(file) if file.is_file() else {}
    found = fields.get("eos_token_id", getattr(config, "eos_token_id", None))
    several = found if isinstance(found, list) else [found]
    return tuple(token for token in several if isinstance(token, int))
