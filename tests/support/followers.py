"""A model that follows instructions, made by hand: what a prompt ends with decides the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from lib.model.gpt2.gpt import GPT, new_gpt
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.weights import save_gpt
from lib.text.gpt2 import PAD, gpt2_tokenizer
from lib.text.prompts import Style

STYLE = Style(before_instruction="Q: ", before_input=" I: ", before_response=" A:")  # no style of the code's
# By the character that a prompt ends with; " A:" is the style's, and each token stands in one answer only.
ANSWERS = {"?": " A: yes, that is so", "!": " no 😀 fear"}
RESPONSES = {"?": "yes, that is so", "!": "no 😀 fear"}
RESPOND: dict[str, Any] = {
    "max_new_tokens": 20, "batch_size": 2, "temperature": 0.0, "top_k": None, "top_p": None, "seed": 1,
}  # fmt: skip


def following(chains: Sequence[Sequence[int]], *, vocab_size: int = PAD + 1) -> GPT:
    """A GPT that puts behind a token the one that follows it in a chain, whatever stands before."""
    steps = {token: after for chain in chains for token, after in pairwise(chain)}
    assert len(steps) == sum(len(chain) - 1 for chain in chains), "a token can be followed by one other"
    config = GPTConfig(
        context_length=24, emb_dim=len(steps), n_heads=1, n_layers=1, vocab_size=vocab_size, tied_output=False
    )
    gpt = new_gpt(config, seed=1)
    assert gpt.output is not None
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.zero_()  # attention and MLP add nothing, position counts for nothing
        gpt.final_norm.weight.fill_(1)
        for place, (token, after) in enumerate(steps.items()):
            gpt.token_embedding.weight[token, place] = 1
            gpt.output.weight[after, place] = 1
    return gpt


def chains_of(answers: Mapping[str, str]) -> list[list[int]]:
    """For each answer the token that it follows, its own and the end token."""
    encode = gpt2_tokenizer().encoding.encode_ordinary
    return [[*encode(last), *encode(answer), PAD] for last, answer in answers.items()]


def write_follower(folder: Path, **respond: Any) -> Path:
    """Fills `folder` with what a registered model has, and returns it; `respond` are fields of how it writes."""
    folder.mkdir(parents=True)
    save_gpt(following(chains_of(ANSWERS)), folder)
    gpt2_tokenizer().save(folder)
    use = {
        "network": "gpt2",
        "prompt": {"style": "by hand", **asdict(STYLE)},
        "precision": "float32",
        "respond": RESPOND | respond,
    }
    (folder / "inference.json").write_text(json.dumps(use), encoding="utf-8")
    return folder
