"""Generates text: tokens in, the tokens that follow them out, for many texts at once."""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib.errors import RecipeError
from lib.model.choice import Choice, require_tokens
from lib.model.gpt2.gpt import GPT, KeyValues
from lib.model.machine.fast import fast
from lib.progress import Progress, silent


@dataclass
class _Text:
    """A prompt and the tokens generated after it."""

    tokens: list[int]
    start: int  # where the new ones begin
    most: int  # new ones
    stops: Collection[int]  # tokens that end it
    generator: torch.Generator = field(default_factory=torch.Generator)
    open: bool = True

    def add(self, token: int) -> None:
        if token in self.stops:
            self.open = False
        else:
            self.tokens.append(token)
            self.open = self.added < self.most

    @property
    def added(self) -> int:
        return len(self.tokens) - self.start


def generate(
    gpt: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stops: Collection[int] = (),
    seed: int | None = None,
    batch_size: int = 8,
    cache: bool = True,
    precision: str = "float32",
    progress: Progress = silent,
) -> list[list[int]]:
    """Returns the tokens that follow each prompt, computed on the device of `gpt`.

    A text ends after `max_new_tokens`, or before a token of `stops`. `Choice` explains `temperature`, `top_k` and
    `top_p`. Of a text longer than the context, the GPT sees the last part, with positions counted from 0, as in the
    published code.

    A text does not depend on the rest of its batch: every prompt draws from its own generator, seeded with `seed`
    (None: from the system), and padding is masked. Equal prompts get equal answers; use several seeds for several
    answers. (The last bits of float sums depend on the batch's shape, which shows only where two tokens are almost
    equally likely: hardly ever in float32, now and then in bfloat16.)

    Memory holds keys and values of `batch_size` texts. Without `cache` every token recomputes the whole text; the
    logits agree to within 1e-5. The cache is not used past the context or without a causal mask, where earlier values
    change.

    `progress` counts tokens; a finished text counts as `max_new_tokens`. The GPT's mode is left as it was. Raises
    `RecipeError` for a setting out of range, `MessagesError` for an empty prompt, `WeightsError` for an unknown token.
    """
    choice = Choice(temperature, top_k, top_p)
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise RecipeError(f"{name} is {value}: use 1 or more")
    require_tokens(gpt.config.vocab_size, prompts, stops)
    texts = [_Text([*prompt], len(prompt), max_new_tokens, stops) for prompt in prompts]
    for text in texts:
        text.generator.seed() if seed is None else text.generator.manual_seed(seed)

    def report() -> None:
        done = sum(text.added if text.open else max_new_tokens for text in texts)
        progress(done, len(texts) * max_new_tokens, "tokens")

    context_length, device = gpt.config.context_length, gpt.token_embedding.weight.device
    ordered = sorted(texts, key=lambda text: min(text.start, context_length))  # similar lengths need little padding
    was_training = gpt.training
    gpt.eval()
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
    try:
        with torch.inference_mode(), fast(gpt, gpt.config.emb_dim), autocast:
            for start in range(0, len(ordered), batch_size):
                batch = ordered[start : start + batch_size]
                if cache and gpt.config.causal_mask:
                    _write_cached(gpt, [text for text in batch if text.start <= context_length], choice, report)
                _write(gpt, [text for text in batch if text.open], choice, report)
    finally:
        gpt.train(was_training)
    return [text.tokens[text.start :] for text in texts]


def _write_cached(gpt: GPT, texts: list[_Text], choice: Choice, report: Callable[[], None]) -> None:
    """Extends each text, none of which has new tokens yet, until it ends or exceeds the context."""
    if not texts:
        return
    context_length = gpt.config.context_length
    tokens, padding = _padded_left([text.tokens for text in texts], gpt)
    steps = max(min(text.most - 1, context_length - text.start) for text in texts)
    caches = [KeyValues(tokens.shape[1] + steps) for _ in gpt.blocks]
    going = list(range(len(texts)))  # rows of unfinished texts
    while True:
        _choose(texts, going, next_logits(gpt, tokens, padding, caches), choice)
        report()
        going = [row for row in going if texts[row].open and len(texts[row].tokens) <= context_length]
        if not going:
            return
        if 2 * len(going) <= len(texts):  # copying the rest now costs less than computing finished rows
            rows = torch.tensor(going, device=tokens.device)
            for cache in caches:
                cache.keep(rows)
            padding = None if padding is None else padding[rows]
            texts, going = [texts[row] for row in going], list(range(len(going)))
        tokens = torch.tensor([text.tokens[-1:] for text in texts], device=tokens.device)


def _write(gpt: GPT, texts: list[_Text], choice: Choice, report: Callable[[], None]) -> None:
    """Extends each text until it ends, from as much of it as the context holds."""
    while texts:
        tokens, padding = _padded_left([text.tokens[-gpt.config.context_length :] for text in texts], gpt)
        _choose(texts, range(len(texts)), next_logits(gpt, tokens, padding), choice)
        report()
        texts = [text for text in texts if text.open]


def _choose(texts: Sequence[_Text], rows: Sequence[int], logits: Tensor, choice: Choice) -> None:
    """Adds a token to the texts in these rows of the logits."""
    chosen = [texts[row] for row in rows]
    wanted = logits if len(rows) == len(texts) else logits[rows]
    for text, token in zip(chosen, choice.tokens(wanted, [text.generator for text in chosen]), strict=True):
        text.add(token)


def _padded_left(sequences: Sequence[Sequence[int]], gpt: GPT) -> tuple[Tensor, Tensor | None]:
    """Returns left-padded tokens (batch, longest) int64 and the `padding` of `next_logits`, on the device of `gpt`."""
    device = gpt.token_embedding.weight.device
    longest = max(len(sequence) for sequence in sequences)
    padding = [longest - len(sequence) for sequence in sequences]
    rows = [[0] * missing + [*sequence] for missing, sequence in zip(padding, sequences, strict=True)]
    return torch.tensor(rows, device=device), torch.tensor(padding, device=device) if any(padding) else None


def next_logits(
    gpt: GPT, tokens: Tensor, padding: Tensor | None = None, caches: Sequence[KeyValues] | None = None
) -> Tensor:
    """Returns the logits (batch, vocab_size) float32 of the token after each row of `tokens` (batch, length) int64.

    padding: (batch,) int64, the length of the padding at the left of each row; None: no padding. `caches`, one per
    block, hold the tokens before `tokens` and receive these; the padding is then that of the whole row.
    """
    length = tokens.shape[1]
    before = caches[0].length if caches else 0
    places = torch.arange(before + length, device=tokens.device)
    positions, mask = places[before:], None
    if padding is not None:
        # Clamped: padding has no position, and neither have tokens added to a finished row.
        positions = (positions - padding[:, None]).clamp(0, gpt.config.context_length - 1)
        mask = _mask(places, places[before:], padding, causal=gpt.config.causal_mask)
    x = gpt.embed(tokens, positions)
    for block, cache in zip(gpt.blocks, caches or itertools.repeat(None, len(gpt.blocks)), strict=True):
        x = block(x, mask, cache)
    return gpt.logits(gpt.final_norm(x[:, -1])).float()


def _mask(places: Tensor, new: Tensor, padding: Tensor, *, causal: bool) -> Tensor:
    """Returns which places each new one sees, (batch, 1, new, places) bool: text, and itself. It sees itself even at
    padding, because some attention kernels return NaN for a row that sees nothing."""
    itself = places == new[:, None]  # (new, places)
    earlier = places <= new[:, None] if causal else torch.ones_like(itself)
    text = places >= padding[:, None, None, None]  # (batch, 1, 1, places)
    return text & earlier | itself
