from dataclasses import replace

import pytest
import tiktoken
import torch

from lib.model.gpt2 import sanity
from lib.model.gpt2.generation import generate
from lib.model.gpt2.gpt import GPT, new_gpt
from lib.model.gpt2.sanity import SAMPLES, Sample, sanity_report, sanity_texts
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.text.gpt2 import gpt2_tokenizer

NARROW = GPTConfig(context_length=64, emb_dim=16, n_heads=2, n_layers=1)


@pytest.fixture(scope="module")
def encoding() -> tiktoken.Encoding:
    return gpt2_tokenizer().encoding


@pytest.fixture(scope="module")
def gpt() -> GPT:
    return new_gpt(NARROW, seed=3)


def writing(token: int, config: GPTConfig = NARROW) -> GPT:
    """A GPT that writes this token always."""
    gpt = new_gpt(config, seed=0)
    with torch.no_grad():
        gpt.final_norm.weight.zero_()
        gpt.final_norm.bias.fill_(1)
        gpt.token_embedding.weight[token] = 1
    return gpt


def test_each_text_is_the_likeliest_one_behind_its_prompt(gpt: GPT, encoding: tiktoken.Encoding) -> None:
    for sample, text in zip(SAMPLES, sanity_texts(gpt, encoding), strict=True):
        prompt = encoding.encode_ordinary(sample.prompt)
        (expected,) = generate(gpt, [prompt], max_new_tokens=sample.new_tokens)
        assert text == encoding.decode(expected)


def test_prompts_and_published_answers_have_the_published_lengths(encoding: tiktoken.Encoding) -> None:
    lengths = [[len(encoding.encode_ordinary(text)) for text in (it.prompt, it.published)] for it in SAMPLES]
    assert lengths == [[4, 15], [38, 23]]
    assert [sample.new_tokens for sample in SAMPLES] == [25, 23]


def test_the_report_is_readable_text_and_the_same_each_time(encoding: tiktoken.Encoding) -> None:
    gpt = writing(encoding.encode_single_token(" you"))
    report = sanity_report(gpt, encoding)
    first = f"""\
A sentence continued
--------------------
Prompt:
    Every effort moves you

25 tokens that follow:
    {" you" * 25}
"""
    assert first in report
    assert report.endswith(f"award.'\n\n23 tokens that follow:\n    {' you' * 23}\n")
    assert "published" not in report  # there is nothing to say about this shape
    assert sanity_report(gpt, encoding) == report


def test_control_characters_and_broken_utf8_are_shown_as_such(encoding: tiktoken.Encoding) -> None:
    for token in (encoding.encode_single_token("\x00"), encoding.encode_single_token(b"\xff")):
        report = sanity_report(writing(token), encoding)
        assert "    " + "\ufffd" * 25 + "\n" in report
        assert all(letter.isprintable() or letter == "\n" for letter in report)


def test_a_smaller_vocabulary_is_said_and_a_larger_one_shows_by_number(encoding: tiktoken.Encoding) -> None:
    report = sanity_report(new_gpt(replace(NARROW, vocab_size=50), seed=0), encoding)
    assert report.startswith("No text: these weights know 50 tokens, and the encoding 'gpt2' has 50257")
    assert "<|50300|>" * 25 in sanity_report(writing(50300, replace(NARROW, vocab_size=50304)), encoding)


def test_a_short_context_sees_the_end_of_the_prompt(encoding: tiktoken.Encoding) -> None:
    report = sanity_report(new_gpt(replace(NARROW, context_length=16), seed=0), encoding)
    assert report.count("(The context is too short for the first 22 tokens of it.)") == 1


@pytest.mark.parametrize("right", [True, False])
def test_weights_of_the_published_shape_are_compared(
    encoding: tiktoken.Encoding, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    monkeypatch.setitem(SIZES, "gpt2-small", NARROW)  # the true one takes seconds
    published = " you" * 15 if right else " forward.\n\nThe first step"
    monkeypatch.setattr(sanity, "SAMPLES", (Sample("One", "Every effort", 25, published),))
    report = sanity_report(writing(encoding.encode_single_token(" you"), replace(NARROW, dropout=0.1)), encoding)
    end = "OpenAI's GPT-2 124M is published to write just this.\n"
    if not right:
        end = "OpenAI's GPT-2 124M, which has this shape, is published to write:\n     forward.\n\n    The first step\n"
    assert report.endswith(f"{' you' * 25}\n\n{end}")
