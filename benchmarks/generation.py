"""Row "generation": 256 new tokens with kept keys and values, against the whole text anew for each; a batch of 8; and
the two together, as the step `respond` answers a test split.

The other side is at its best: the same code, so the logits of one position only, no autograd, the same threads; it
merely keeps nothing, or writes one text at a time.
"""

from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import DifferentResultsError, Measured, Row, ratio_row, seconds
from benchmarks.workload import WEIGHTS_SEED, Bench
from lib.data.entries.reading import read_entries
from lib.data.samples.entries import FILE as INSTRUCTIONS
from lib.model.gpt2.generation import generate
from lib.model.gpt2.gpt import GPT, new_gpt
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.prompts import STYLES

GROUP = "generation"
PROMPT = "Every effort moves you"
NEW_TOKENS = 256
BATCH = 8  # prompts of different lengths
BATCH_TOKENS = 64  # new ones for each of them
WARM_UP = 4  # tokens

Texts = list[list[int]]


def rows(bench: Bench) -> Iterator[Row]:
    """Measure what writes the same tokens on both sides; fewer where the context is short."""
    gpt = new_gpt(bench.config, seed=WEIGHTS_SEED).to(torch.device(bench.device))
    (prompt,) = gpt2_tokenizer().encode([PROMPT])
    new = min(NEW_TOKENS, bench.config.context_length - len(prompt))
    bench.say(f"generation: {new} tokens, with and without cache")
    yield compared(
        f"generation: {new} new tokens for one prompt of {len(prompt)}",
        ("keys and values kept", lambda most: generate(gpt, [prompt], max_new_tokens=most)),
        ("the whole text anew for each token", lambda most: generate(gpt, [prompt], max_new_tokens=most, cache=False)),
        new,
        at_least=5.0 if bench.judged else None,
    )
    prompts = ragged_prompts(bench)
    lengths = [len(prompt) for prompt in prompts]
    bench.say(f"generation: {len(prompts)} prompts at once and one after another")
    yield compared(
        f"generation: {len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens, {BATCH_TOKENS} new ones each",
        ("one batch", lambda most: generate(gpt, prompts, max_new_tokens=most, batch_size=len(prompts))),
        ("one prompt after another", lambda most: one_after_another(gpt, prompts, most)),
        BATCH_TOKENS,
    )
    asked = questions(bench)
    lengths = [len(prompt) for prompt in asked]
    bench.say(f"generation: {len(asked)} answers to instructions")
    yield compared(
        f"respond: {len(asked)} instructions of {min(lengths)} to {max(lengths)} tokens, {BATCH_TOKENS} new ones each",
        (
            "one batch, keys and values kept",
            lambda most: generate(gpt, asked, max_new_tokens=most, batch_size=len(asked)),
        ),
        ("one after another, nothing kept", lambda most: one_after_another(gpt, asked, most, cache=False)),
        BATCH_TOKENS,
        at_least=5.0 if bench.judged else None,
    )


def compared(
    what: str,
    ours: tuple[str, Callable[[int], Texts]],
    other: tuple[str, Callable[[int], Texts]],
    new_tokens: int,
    *,
    at_least: float | None = None,
) -> Row:
    """The seconds of both ways to write so many tokens; raises `DifferentResultsError` if they write different ones."""
    sides, written = [], []
    for name, write in (ours, other):
        write(WARM_UP)
        elapsed = seconds(lambda: written.append(write(new_tokens)))  # noqa: B023 - called at once
        sides.append(Measured(name, elapsed, "s", "float32, greedy"))
    if written[0] != written[1]:
        raise DifferentResultsError(f"the tokens of {what} differ between the sides")
    total = sum(len(text) for text in written[0])
    return ratio_row(
        GROUP,
        what,
        *sides,
        at_least=at_least,
        same=f"all {total} new tokens are equal",
        details={"tokens_per_second": [total / side.amount for side in sides]},
    )


def ragged_prompts(bench: Bench) -> Texts:
    """Training messages of different lengths, spread over all of them, that leave room for the new tokens."""
    room = bench.config.context_length - BATCH_TOKENS
    lengths = {len(tokens): tokens for tokens in bench.workload.splits["train"].tokens if len(tokens) <= room}
    shortest_first = [lengths[length] for length in sorted(lengths)]
    return shortest_first[:: max(1, len(shortest_first) // BATCH)][:BATCH]


def questions(bench: Bench) -> Texts:
    """The first bundled instructions, in the published prompt style, that leave room for the new tokens."""
    entries = read_entries(INSTRUCTIONS).table
    texts = map(STYLES["alpaca"].prompt, entries["instruction"], entries["input"])
    prompts = gpt2_tokenizer().encode(texts)
    return [prompt for prompt in prompts if len(prompt) + BATCH_TOKENS <= bench.config.context_length][:BATCH]


def one_after_another(gpt: GPT, prompts: Texts, most: int, *, cache: bool = True) -> Texts:
    """Each prompt in a batch of its own."""
    return [text for prompt in prompts for text in generate(gpt, [prompt], max_new_tokens=most, cache=cache)]
