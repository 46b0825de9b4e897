"""Tiny networks of transformers' families with random numbers, as folders in Hugging Face layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

WORDS = 120  # of the tokenizer below
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
DECODER = {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
WINDOWED = {**DECODER, "head_dim": 8, "sliding_window": 8}

# The model type and the fields of its config, by family.
FAMILIES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "BERT": ("bert", SIZES),
    "RoBERTa": ("roberta", {**SIZES, "max_position_embeddings": 66, "pad_token_id": 1}),
    "DistilBERT": ("distilbert", {**SIZES, "hidden_dim": 64}),
    "ELECTRA": ("electra", {**SIZES, "embedding_size": 16}),
    "MPNet": ("mpnet", {**SIZES, "max_position_embeddings": 66, "pad_token_id": 1}),
    "DeBERTa-v2": (
        "deberta-v2",
        {
            **SIZES,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_buckets": 16,
            "type_vocab_size": 0,
            "pooler_hidden_size": 32,
        },
    ),
    "ModernBERT": (
        "modernbert",
        {**SIZES, "local_attention": 8, "global_attn_every_n_layers": 3, "pad_token_id": 0, "cls_token_id": 2},
    ),
    "GPT-2": ("gpt2", {"vocab_size": WORDS, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64}),
    "Llama": ("llama", DECODER),
    "Qwen2": ("qwen2", DECODER),
    "Qwen3": ("qwen3", {**DECODER, "head_dim": 8}),
    "SmolLM3": ("smollm3", DECODER),
    "Mistral": ("mistral", {**DECODER, "sliding_window": 8}),
    "Gemma 2": ("gemma2", WINDOWED),
    "Gemma 3": ("gemma3_text", WINDOWED),
    "GPT-NeoX": ("gpt_neox", {**SIZES, "bos_token_id": 2, "eos_token_id": 3}),
    "OPT": (
        "opt",
        {
            **{name: value for name, value in DECODER.items() if name != "intermediate_size"},
            "ffn_dim": 64,
            "word_embed_proj_dim": 32,
        },
    ),
    "Phi-3": ("phi3", DECODER),
}
CLASSIFIERS = ("BERT", "RoBERTa", "DistilBERT", "ELECTRA", "MPNet", "DeBERTa-v2", "ModernBERT")  # encoders
DECODERS = tuple(name for name in FAMILIES if name not in CLASSIFIERS)


def write_family(name: str, folder: Path, *, seed: int = 0, auto: str = "AutoModel", **fields: Any) -> Path:
    """Writes a tiny pretrained network of the family, as its makers publish one; returns the folder.

    auto: the class of transformers whose network it is. Numbers are larger than what families begin with, so that
    texts differ in what is computed of them.
    """
    import transformers

    kind, shape = FAMILIES[name]
    config = transformers.CONFIG_MAPPING[kind].from_dict({**shape, **fields})
    torch.manual_seed(seed)
    network = getattr(transformers, auto).from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    network.save_pretrained(folder)
    return folder
