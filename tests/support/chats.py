"""A tiny decoder with a chat template, as its makers publish one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.families import write_family
from tests.support.tiny_tokenizers import byte_pair

TURN, END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'"
    " }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VOCABULARY = 336  # more than the tokenizer has, as in many models


def write_chat_tokenizer(folder: Path, template: str | None = CHATML) -> Path:
    """Writes a byte-level tokenizer that ends a text with </s>, and a chat template whose turns end otherwise."""
    byte_pair(folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def write_chat_model(folder: Path, family: str = "Llama", *, template: str | None = CHATML, **fields: Any) -> Path:
    """Writes a decoder with its tokenizer; its generation_config.json would draw, and names a third end of a text."""
    shape = {"vocab_size": VOCABULARY, "max_position_embeddings": 128, **fields}
    if family == "GPT-2":
        shape = {"vocab_size": VOCABULARY, "n_positions": 128, **fields}
    write_family(family, folder, auto="AutoModelForCausalLM", **shape)
    generation = {"eos_token_id": [1, 7], "do_sample": True, "temperature": 0.6, "repetition_penalty": 1.5}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return write_chat_tokenizer(folder, template)
