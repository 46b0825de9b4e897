"""Tiny tokenizers of each family, trained in milliseconds, as folders in Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXTS = (
    "Free entry in a weekly competition to win tickets",
    "I'll call you later, are you coming home for lunch?",
    "Win a free prize, call now! Naïve café 👍 okay",
    "Ok lar... joking with you about the weekly lunch",
)


def wordpiece(folder: Path) -> Path:
    """BERT's kind: [CLS] text [SEP], lower case."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    core.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=list(roles.values()), show_progress=False)
    )
    core.post_processor = _around(core, "[CLS]", "[SEP]")
    return _saved(core, folder, roles)


def byte_pair(folder: Path) -> Path:
    """The kind of Llama 3 and SmolLM: bytes, <s> before a text, and chat markers that never stand in ordinary text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=specials, initial_alphabet=letters, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    core.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), _around(core, "<s>", None)])
    return _saved(core, folder, {"bos": "<s>", "eos": "</s>"})


def byte_fallback(folder: Path) -> Path:
    """The kind of Llama 2 and Mistral: pieces of SentencePiece, and <0xF0> for bytes that no piece has."""
    letters = [(letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    pieces = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        *((f"<0x{byte:02X}>", -9.0) for byte in range(256)),
        *letters,
    ]
    core = Tokenizer(models.Unigram([*pieces, ("▁yes", -2.0)], unk_id=0, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    core.post_processor = _around(core, "<s>", None)
    return _saved(core, folder, {"bos": "<s>", "eos": "</s>", "unk": "<unk>"})


def unigram(folder: Path) -> Path:
    """T5's and DeBERTa's kind: pieces of words with the space before them, and a token at the end."""
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    core.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=90, special_tokens=specials, unk_token="<unk>", show_progress=False)
    )
    core.post_processor = _around(core, None, "</s>")
    return _saved(core, folder, {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"})


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "wordpiece": wordpiece,
    "byte_pair": byte_pair,
    "byte_fallback": byte_fallback,
    "unigram": unigram,
}


def _around(core: Tokenizer, before: str | None, after: str | None) -> Any:
    template = " ".join(part for part in (before, "$A", after) if part is not None)
    specials = [(token, core.token_to_id(token)) for token in (before, after) if token is not None]
    return processors.TemplateProcessing(single=template, special_tokens=specials)


def _saved(core: Tokenizer, folder: Path, roles: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **{f"{role}_token": text for role, text in roles.items()}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
