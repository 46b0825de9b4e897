"""Writes the tables of docs/tokenizers.md: `python docs/five_tokenizers.py`.

Four tokenizers are trained on four fifths of the bundled messages, the fifth is GPT-2's; the figures are those of the
other fifth. A test fails while the page says something else.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads would add up the same numbers in another order
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Core

from lib.data.samples.messages import ARCHIVE, MEMBER
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.hugging_face import HuggingFaceTokenizer
from lib.text.inspection import inspect_texts
from lib.text.tokenizer import Tokenizer, load_tokenizer

PAGE = Path(__file__).resolve().parent / "tokenizers.md"
BEGIN = "<!-- tables: made by docs/five_tokenizers.py -->"
END = "<!-- end of tables -->"
MESSAGES = (
    "are you coming home for lunch?",
    "WIN a £500 voucher now! Txt CLAIM to 80082",
    "Naïve question: où est le café 😀",
)
VOCABULARY = 2000  # tokens of those that choose their pieces
HELD_OUT = 5  # every fifth message
WIDTH = 768  # numbers a token has in the smallest GPT-2 and in BERT's base size


def words() -> tuple[Core, Any]:
    """Words and marks of punctuation, the most frequent ones."""
    core = Core(models.WordLevel(unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return core, trainers.WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=["[UNK]"], show_progress=False)


def characters() -> tuple[Core, Any]:
    """Every character."""
    core = Core(models.WordLevel(unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return core, trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False)


def wordpiece() -> tuple[Core, Any]:
    """BERT's: lower case without accents; a piece that continues a word begins with ##."""
    core = Core(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    special = ["[UNK]", "[CLS]", "[SEP]"]
    return core, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)


def unigram() -> tuple[Core, Any]:
    """SentencePiece's: ▁ stands for a space; of all ways to take a text apart, the most probable one."""
    core = Core(models.Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = ["<unk>", "</s>"]
    return core, trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False
    )


def trained(core: Core, trainer: Any, texts: Sequence[str]) -> Tokenizer:
    """Trains, and reads the tokenizer as the steps do."""
    core.train_from_iterator(texts, trainer)
    unknown = "<unk>" if core.token_to_id("<unk>") is not None else "[UNK]"
    with tempfile.TemporaryDirectory() as folder:
        core.save(f"{folder}/tokenizer.json")
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"unk_token": unknown}))
        return load_tokenizer(Path(folder))


def sample() -> tuple[list[str], list[str]]:
    """The bundled messages, those to train on and the others."""
    lines = zipfile.ZipFile(ARCHIVE).read(MEMBER).decode().splitlines()
    texts = [line.split("\t")[1] for line in lines]
    return [text for row, text in enumerate(texts) if row % HELD_OUT], texts[::HELD_OUT]


def five() -> dict[str, Tokenizer]:
    """The five tokenizers by the kind that they are of."""
    texts, _ = sample()
    return {
        "words": trained(*words(), texts),
        "characters": trained(*characters(), texts),
        "WordPiece": trained(*wordpiece(), texts),
        "byte-pair (GPT-2's)": gpt2_tokenizer(),
        "Unigram": trained(*unigram(), texts),
    }


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """The tokens of a text as their vocabulary writes them; a space is ␣, and half a character its bytes."""
    (tokens,) = tokenizer.encode([text])
    if isinstance(tokenizer, HuggingFaceTokenizer):
        shown = [tokenizer.piece(token) for token in tokens]
    else:
        parts = gpt2_tokenizer().encoding.decode_tokens_bytes(tokens)
        shown = [part.decode(errors="backslashreplace") for part in parts]
    return [piece.replace(" ", "␣") for piece in shown]


def tables() -> str:
    """Both tables in Markdown."""
    tokenizers = five()
    _, texts = sample()
    parts = []
    for message in MESSAGES:
        rows = [
            f"| {kind} | {len(found)} | {' '.join(f'`{piece}`' for piece in found)} |"
            for kind, found in ((kind, pieces(tokenizer, message)) for kind, tokenizer in tokenizers.items())
        ]
        parts.append(f"**{message}**\n\n| kind | tokens | they are |\n|---|---|---|\n" + "\n".join(rows))
    rows = []
    for kind, tokenizer in tokenizers.items():
        found = inspect_texts(texts, tokenizer)
        rows.append(
            f"| {kind} | {tokenizer.vocabulary:,} | {tokenizer.vocabulary * WIDTH / 1e6:.1f} million |"
            f" {found.tokens['median']:.0f} | {found.tokens['longest']} | {found.characters_per_token:.1f} |"
            f" {found.unknown:.1%} | {found.split:.0%} |"
        )
    head = (
        f"| kind | vocabulary | its numbers, {WIDTH} a token | tokens a message: median | longest | characters a token"
        " | unknown tokens | words of several tokens |\n|---|---|---|---|---|---|---|---|\n"
    )
    parts.append(f"On the {len(texts)} bundled messages that no tokenizer was trained on:\n\n{head}" + "\n".join(rows))
    return "\n\n".join(parts)


def page_with_tables(page: str) -> str:
    """The page's text with the tables as they must be; raises ValueError if it has lost a marker."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{tables()}\n\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
