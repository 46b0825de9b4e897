"""Reports what weights write before any training, so that a person sees whether they are intact."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lib.model.gpt2.generation import generate
from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.sizes import SIZES

if TYPE_CHECKING:
    import tiktoken


@dataclass(frozen=True)
class Sample:
    """A prompt, the number of tokens to generate, and what OpenAI's GPT-2 124M generates."""

    heading: str
    prompt: str
    new_tokens: int
    published: str  # or its beginning


# "Build a Large Language Model (From Scratch)", chapter 6, which generates 15 and 23 tokens with OpenAI's 124M weights;
# chapter 5 generates 25 after the first prompt.
SAMPLES = (
    Sample(
        heading="A sentence continued",
        prompt="Every effort moves you",
        new_tokens=25,
        published=" forward.\n\nThe first step is to understand the importance of your work",
    ),
    Sample(
        heading="A question, answered without an example",
        prompt=(
            "Is the following text 'spam'? Answer with 'yes' or 'no': 'You are a winner you have been"
            " specially selected to receive $1000 cash or a $2000 award.'"
        ),
        new_tokens=23,
        published="\n\nThe following text 'spam'? Answer with 'yes' or 'no': 'You are a winner",
    ),
)

INTRODUCTION = (
    "What these weights write before any training, the likeliest token each time. Weights that arrived well write\n"
    "English. A tensor that is damaged or in another's place shows as nonsense, and so do weights from scratch.\n"
)


def sanity_report(gpt: GPT, encoding: tiktoken.Encoding) -> str:
    """Returns the samples and the text of `gpt` as plain text, beside the published text for the shape of OpenAI's
    124M. A GPT with fewer tokens than the encoding gets a sentence about that instead."""
    if gpt.config.vocab_size < encoding.n_vocab:
        return (
            f"No text: these weights know {gpt.config.vocab_size} tokens, and the encoding {encoding.name!r} has"
            f" {encoding.n_vocab}, so they were made with another one.\n"
        )
    parts = [INTRODUCTION]
    for sample, text in zip(SAMPLES, sanity_texts(gpt, encoding), strict=True):
        parts.append(f"{sample.heading}\n{'-' * len(sample.heading)}\nPrompt:\n{_block(sample.prompt)}")
        hidden = len(encoding.encode_ordinary(sample.prompt)) - gpt.config.context_length
        if hidden > 0:
            parts.append(f"(The context is too short for the first {hidden} tokens of it.)\n")
        parts.append(f"{sample.new_tokens} tokens that follow:\n{_block(text)}")
        if replace(gpt.config, dropout=0.0) == SIZES["gpt2-small"]:
            parts.append(_comparison(sample, text))
    return "\n".join(parts)


def sanity_texts(gpt: GPT, encoding: tiktoken.Encoding) -> list[str]:
    """Returns what `gpt` generates after each prompt of `SAMPLES`, in float32; bytes that are no UTF-8 as U+FFFD.
    Tokens that the encoding does not have appear by number, such as <|50300|>."""
    prompts = [encoding.encode_ordinary(sample.prompt) for sample in SAMPLES]
    # Greedy text does not depend on its length, so the samples share a batch.
    longest = max(sample.new_tokens for sample in SAMPLES)
    found = generate(gpt, prompts, max_new_tokens=longest)
    return [_decoded(tokens[: sample.new_tokens], encoding) for sample, tokens in zip(SAMPLES, found, strict=True)]


def _decoded(tokens: list[int], encoding: tiktoken.Encoding) -> str:
    known = (
        encoding.decode_single_token_bytes(token) if token < encoding.n_vocab else f"<|{token}|>".encode()
        for token in tokens
    )
    return b"".join(known).decode("utf-8", errors="replace")


def _comparison(sample: Sample, text: str) -> str:
    if text.startswith(sample.published):
        return "OpenAI's GPT-2 124M is published to write just this.\n"
    return f"OpenAI's GPT-2 124M, which has this shape, is published to write:\n{_block(sample.published)}"


def _block(text: str) -> str:
    """Indents the lines; control characters, which random weights do write, become U+FFFD."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
    return textwrap.indent(shown.rstrip(), "    ") + "\n"
