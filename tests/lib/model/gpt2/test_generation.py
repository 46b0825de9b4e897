import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib.errors import FinetuneError, MessagesError, RecipeError, WeightsError
from lib.model.choice import Choice
from lib.model.gpt2.generation import generate, next_logits
from lib.model.gpt2.gpt import GPT, KeyValues, new_gpt
from lib.model.gpt2.sizes import GPTConfig

SMALL = GPTConfig(context_length=16, emb_dim=24, n_heads=3, n_layers=2, vocab_size=50)
# Shorter than the context, as long as it, longer; some get past it with 12 new tokens and some do not.
RAGGED = [[7, 3, 11], [5], list(range(20, 36)), [9, 9, 2, 40, 1, 30, 8], list(range(49, 27, -1)), [4, 2]]
DRAWN: dict[str, Any] = {"temperature": 1.4, "top_k": 25, "seed": 123}


def noisy(config: GPTConfig = SMALL, seed: int = 1) -> GPT:
    """Random norms and biases too, and numbers so large that every earlier token and its position matters."""
    gpt = new_gpt(config, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3 if parameter.ndim == 2 else 0.1)
    return gpt


def by_definition(
    gpt: GPT, prompt: list[int], steps: int, *, temperature: float = 0.0, top_k: int | None = None, seed: int = 123
) -> list[int]:
    """Chapter 5's recipe for one text: the last `context` tokens anew each time, torch's global generator."""
    tokens = torch.tensor([prompt])
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for _ in range(steps):
            logits = gpt(tokens[:, -gpt.config.context_length :])[:, -1]
            if temperature:
                if top_k:
                    logits[logits < logits.topk(top_k).values[:, -1:]] = -math.inf
                following = torch.multinomial((logits / temperature).softmax(dim=-1), num_samples=1)
            else:
                following = logits.argmax(dim=-1, keepdim=True)
            tokens = torch.cat([tokens, following], dim=1)
    return [int(token) for token in tokens[0, len(prompt) :]]


def shapes_entering(module: torch.nn.Module) -> list[tuple[int, ...]]:
    """The shapes of what the module will be called with, as it is called."""
    shapes: list[tuple[int, ...]] = []
    module.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    return shapes


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("how", [{}, DRAWN, {"temperature": 0.7, "seed": 5}], ids=["greedy", "top_k", "all tokens"])
@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_any_batch_writes_what_the_definition_writes_for_each_prompt_alone(
    cache: bool, how: dict[str, Any], batch_size: int
) -> None:
    gpt = noisy()
    expected = [by_definition(gpt, prompt, 12, **how) for prompt in RAGGED]
    assert len({token for text in expected for token in text}) > 10  # not one token over and over
    assert len({tuple(text) for text in expected}) == len(RAGGED)
    assert generate(gpt, RAGGED, max_new_tokens=12, cache=cache, batch_size=batch_size, **how) == expected


@pytest.mark.parametrize("cache", [True, False])
def test_without_causal_mask_too(cache: bool) -> None:
    gpt = noisy(replace(SMALL, causal_mask=False, tied_output=False, n_layers=3), seed=2)
    expected = [by_definition(gpt, prompt, 6) for prompt in RAGGED]
    assert generate(gpt, RAGGED, max_new_tokens=6, cache=cache) == expected


@torch.no_grad()
def test_cached_logits_are_the_uncached_ones_at_every_step() -> None:
    gpt = noisy(replace(SMALL, n_layers=3))
    texts = torch.randint(0, 50, (3, 16), generator=torch.Generator().manual_seed(0))
    lengths = [8, 3, 5]  # of the prompts, at the ends of rows of 8
    padding = torch.tensor([8 - length for length in lengths])
    even, ragged = [KeyValues(16) for _ in gpt.blocks], [KeyValues(16) for _ in gpt.blocks]

    def expected(lengths: list[int]) -> Tensor:
        return torch.stack([gpt(texts[row : row + 1, :length])[0, -1] for row, length in enumerate(lengths)])

    padded = torch.zeros(3, 8, dtype=torch.int64)
    for row, length in enumerate(lengths):
        padded[row, 8 - length :] = texts[row, :length]
    found = next_logits(gpt, texts[:, :8], caches=even), next_logits(gpt, padded, padding, ragged)
    torch.testing.assert_close(found, (expected([8, 8, 8]), expected(lengths)), rtol=0, atol=1e-5)
    for more in range(1, 9):
        lengths = [length + 1 for length in lengths]
        ends = torch.tensor(lengths)[:, None] - 1
        found = (
            next_logits(gpt, texts[:, 7 + more, None], caches=even),
            next_logits(gpt, texts.gather(1, ends), padding, ragged),
        )
        torch.testing.assert_close(found, (expected([8 + more] * 3), expected(lengths)), rtol=0, atol=1e-5)


def test_the_end_token_ends_one_text_and_is_not_in_it() -> None:
    gpt = noisy()
    whole = generate(gpt, RAGGED, max_new_tokens=12, **DRAWN)
    end = next(token for token in whole[0][3:] if not all(token in text for text in whole))
    expected = [text[: text.index(end)] if end in text else text for text in whole]
    assert generate(gpt, RAGGED, max_new_tokens=12, stops=(end,), **DRAWN) == expected
    assert generate(gpt, RAGGED, max_new_tokens=12, stops=(end,), cache=False, **DRAWN) == expected


def test_finished_texts_leave_the_batch() -> None:
    gpt = noisy()
    prompts = [[token] for token in range(8)]
    whole = generate(gpt, prompts, max_new_tokens=15)
    ends = {end: [text.index(end) if end in text else 15 for text in whole] for end in range(50)}
    end = min(ends, key=lambda end: sum(ends[end]))  # the one that ends most texts, soonest
    shapes = shapes_entering(gpt.blocks[0])
    assert generate(gpt, prompts, max_new_tokens=15, stops=(end,)) == [
        text[:length] for text, length in zip(whole, ends[end], strict=True)
    ]
    rows = [shape[0] for shape in shapes]
    needed = [sum(length >= step for length in ends[end]) for step in range(len(rows))]
    assert rows[0] == 8
    assert rows[-1] < 8
    # Rows go as soon as half of them may.
    assert all(of_use <= kept < 2 * of_use for of_use, kept in zip(needed, rows, strict=True))


def test_each_step_costs_one_position_and_one_row_of_logits() -> None:
    gpt = noisy()
    entering, finishing = shapes_entering(gpt.blocks[0]), shapes_entering(gpt.final_norm)
    generate(gpt, [[1, 2, 3, 4], [5, 6]], max_new_tokens=5)
    assert entering == [(2, 4, 24)] + [(2, 1, 24)] * 4
    assert finishing == [(2, 24)] * 5


def test_batches_are_of_similar_lengths_and_the_order_is_the_callers() -> None:
    gpt = noisy()
    prompts = [list(range(length)) for length in (9, 1, 8, 2, 10, 3)]
    alone = [generate(gpt, [prompt], max_new_tokens=3)[0] for prompt in prompts]
    shapes = shapes_entering(gpt.blocks[0])
    assert generate(gpt, prompts, max_new_tokens=3, batch_size=3) == alone
    assert [shape[:2] for shape in shapes if shape[1] > 1] == [(3, 3), (3, 10)]


def test_keys_and_values_stay_in_place() -> None:
    gpt = noisy()
    caches = [KeyValues(10) for _ in gpt.blocks]
    with torch.no_grad():
        next_logits(gpt, torch.tensor([[1, 2, 3]]), caches=caches)
        places = [cache.extend(torch.zeros(1, 3, 1, 8), torch.zeros(1, 3, 1, 8))[0].data_ptr() for cache in caches]
        next_logits(gpt, torch.tensor([[4]]), caches=caches)
        now = [cache.extend(torch.zeros(1, 3, 1, 8), torch.zeros(1, 3, 1, 8))[0].data_ptr() for cache in caches]
    assert now == places


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(1.0), [0.15, 0.5, 0.05, 0.3]),
        (Choice(0.5), [0.0616, 0.6849, 0.0068, 0.2466]),  # squares over their sum, 0.365
        (Choice(1.0, top_k=2), [0, 0.625, 0, 0.375]),
        (Choice(1.0, top_k=9), [0.15, 0.5, 0.05, 0.3]),
        (Choice(1.0, top_p=0.4), [0, 1, 0, 0]),
        (Choice(1.0, top_p=0.7), [0, 0.625, 0, 0.375]),
        (Choice(1.0, top_p=1.0), [0.15, 0.5, 0.05, 0.3]),
        (Choice(1.0, top_k=2, top_p=0.6), [0, 1, 0, 0]),  # of two, the first has 0.625
    ],
    ids=str,
)
def test_what_tokens_are_drawn_with(choice: Choice, expected: list[float]) -> None:
    rows = torch.tensor([[0.15, 0.5, 0.05, 0.3], [0.25] * 4]).log()
    shares = choice.probabilities(rows)
    torch.testing.assert_close(shares[0], torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-4)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))


def test_of_equally_likely_tokens_top_k_keeps_all_and_top_p_the_first() -> None:
    rows = torch.zeros(1, 4)
    assert Choice(1.0, top_k=2).probabilities(rows).tolist() == [[0.25] * 4]
    assert Choice(1.0, top_p=0.5).probabilities(rows).tolist() == [[0.5, 0.5, 0, 0]]


def test_a_seed_decides_and_none_is_another_text_each_time() -> None:
    gpt = noisy()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    texts = [generate(gpt, [[1, 2]], max_new_tokens=14, temperature=2.0, seed=seed) for seed in (4, 4, 5, None, None)]
    assert texts[0] == texts[1]
    assert len({str(text) for text in texts}) == 4
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_bfloat16(how: str) -> None:
    gpt = noisy()
    exact = next_logits(gpt, torch.tensor([[1, 2, 3]]))
    if how == "weights":
        gpt = gpt.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        found = next_logits(gpt, torch.tensor([[1, 2, 3], [0, 0, 3]]), torch.tensor([0, 2]))
    assert found.dtype == torch.float32
    assert (found[0] - exact[0]).abs().max() < 2e-2 * exact.abs().max()
    assert found.isfinite().all()
    precision = "bfloat16" if how == "autocast" else "float32"
    texts = generate(gpt, RAGGED, max_new_tokens=12, precision=precision)
    assert [len(text) for text in texts] == [12] * 6


def test_progress_counts_tokens_and_the_mode_is_put_back() -> None:
    gpt = noisy(replace(SMALL, dropout=0.5)).train()
    heard: list[tuple[int, int | None, str]] = []
    texts = generate(gpt, RAGGED, max_new_tokens=12, batch_size=4, progress=lambda *step: heard.append(step))
    assert gpt.training
    assert texts == generate(gpt.eval(), RAGGED, max_new_tokens=12)
    assert heard == sorted(heard)
    assert heard[-1] == (72, 72, "tokens")
    assert generate(gpt, [], max_new_tokens=3) == []


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"prompts": [[1], []]}, MessagesError, "prompt 2 has no tokens: leave empty texts out"),
        ({"prompts": [[1, 50]]}, WeightsError, "prompt 1 has the token 50, and the model knows 50 tokens"),
        ({"prompts": [[3, -1]]}, WeightsError, "prompt 1 has the token -1"),
        ({"stops": (50256,)}, WeightsError, "a text is to end with the token 50256, and the model knows 50 tokens"),
        ({"max_new_tokens": 0}, RecipeError, "max_new_tokens is 0: use 1 or more"),
        ({"batch_size": 0}, RecipeError, "batch_size is 0"),
        ({"temperature": -0.1}, RecipeError, "temperature is -0.1: use 0 for the likeliest token"),
        ({"temperature": math.nan}, RecipeError, "temperature is nan"),
        ({"temperature": math.inf}, RecipeError, "temperature is inf"),
        ({"top_k": 0}, RecipeError, "top_k is 0"),
        ({"top_p": 0.0}, RecipeError, "top_p is 0.0: use a probability above 0 and at most 1"),
        ({"top_p": 1.1}, RecipeError, "top_p is 1.1"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(wrong: dict[str, Any], error: type[FinetuneError], sentence: str) -> None:
    arguments: dict[str, Any] = {"prompts": [[1, 2]], "max_new_tokens": 2} | wrong
    with pytest.raises(error) as caught:
        generate(noisy(), **arguments)
    assert str(caught.value).startswith(sentence)


def test_weights_that_give_no_numbers_are_refused() -> None:
    gpt = new_gpt(GPTConfig(context_length=8, emb_dim=8, n_heads=2, n_layers=1), seed=1)
    torch.nn.init.constant_(gpt.final_norm.weight, math.nan)
    for temperature in (0.0, 1.0):
        with pytest.raises(WeightsError, match="not a number"):
            generate(gpt, [[1, 2]], max_new_tokens=2, temperature=temperature, seed=1)
