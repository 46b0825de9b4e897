"""Reads a tokenizer of any family from its `tokenizer.json`, by the package `tokenizers` and without transformers."""

from __future__ import annotations

import codecs
import functools
import json
import re
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.errors import WeightsError
from lib.files.jsonfile import save_json
from lib.text.byte_letters import BYTES, LETTERS
from lib.text.tokenizer_files import ROLES_FILE, SETTINGS, TEMPLATE, TOKENIZER, read_object, token_text

if TYPE_CHECKING:
    import tokenizers

    from lib.text.turns import Part

KINDS = {"BPE": "byte-pair encoding", "Unigram": "Unigram", "WordLevel": "words", "WordPiece": "WordPiece"}
SAVED = (TOKENIZER, SETTINGS, ROLES_FILE, TEMPLATE)
PROBE = "a"  # a text of at least one token in every vocabulary, the unknown one if need be
RARE = "\ua66e"  # a letter that stood in one manuscript, ꙮ
MARK = "\ufdd0"  # no character: a text that has it is damaged
LONGEST_CHARACTER = 4  # bytes of UTF-8
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")  # a byte in a SentencePiece vocabulary


class HuggingFaceTokenizer:
    """A tokenizer from a folder's tokenizer.json; which tokens pad and end, its tokenizer_config.json says."""

    def __init__(self, core: tokenizers.Tokenizer, settings: dict[str, Any], folder: Path) -> None:
        self._core, self._folder = core, folder
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = True  # "[SEP]" in a text is text
        self.vocabulary = 1 + max(core.get_vocab(with_added_tokens=True).values())
        kind = type(core.model).__name__
        self.name = f"{KINDS.get(kind, kind)} ({self.vocabulary:,} tokens)"
        self.end = self._role(settings, "eos_token")
        self.unknown = self._role(settings, "unk_token")
        chosen = (self._role(settings, "pad_token"), self.end, self.unknown)
        self.pad = next((token for token in chosen if token is not None), 0)
        self._before, self._after = self._around()
        self.begin, self.after = tuple(self._before), tuple(self._after)
        decoder = core.decoder.__getstate__().decode() if core.decoder else ""  # JSON
        self._byte_level, self._byte_fallback = '"ByteLevel"' in decoder, '"ByteFallback"' in decoder
        self._spelled = self._spellings()

    @classmethod
    def read(cls, folder: Path) -> HuggingFaceTokenizer:
        """Reads the tokenizer in a folder; raises WeightsError if a file is missing or damaged."""
        core = read_core(folder / TOKENIZER)
        return cls(core, {**read_object(folder / ROLES_FILE), **read_object(folder / SETTINGS)}, folder)

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Returns the tokens of each text, with the family's special tokens around them.

        The package's own threads do it, 1.7 times as fast on two cores; a process that forked goes on with one. Half a
        surrogate pair becomes U+FFFD, as with tiktoken.
        """
        texts = list(texts)
        try:
            encoded = self._core.encode_batch_fast(texts)
        except TypeError:  # what the package says of a text that is no UTF-8
            encoded = self._core.encode_batch_fast([_whole(text) for text in texts])
        return [self._as_text(each.ids) for each in encoded]

    def cut(self, tokens: Sequence[int], max_length: int) -> list[int]:
        """Returns at most `max_length` tokens; those after the text ([SEP]) are kept if there is room for more."""
        after = self._after
        if len(tokens) <= max_length:
            return list(tokens)
        if len(after) < max_length and list(tokens[len(tokens) - len(after) :]) == after:
            return [*tokens[: max_length - len(after)], *after]
        return list(tokens[:max_length])

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens without special tokens, without an incomplete character at the end."""
        known = [token for token in tokens if token < self.vocabulary]
        missing = self._incomplete(known[-LONGEST_CHARACTER:])
        if self._byte_fallback and missing:
            known = known[:-missing]  # each is a byte; with them, the bytes before them would be replaced too
        text: str = self._core.decode(known, skip_special_tokens=True)
        return text.removesuffix("\ufffd") if self._byte_level and missing else text

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """Returns each token with the characters of the text that it stands for, as begin and end."""
        return self._spans(unmarked(text))

    def join(self, parts: Sequence[Part]) -> tuple[list[int], list[int]]:
        """Returns the tokens of the parts' texts, encoded as one text, and each one's part: that of its last
        character."""
        marked = self._renamed().marked
        texts = [marked(part.text) if part.marked else unmarked(part.text) for part in parts]
        spans = self._spans("".join(texts))
        borders = list(accumulate(map(len, texts)))
        return [token for token, _, _ in spans], [bisect_left(borders, end) for _, _, end in spans]

    def piece(self, token: int) -> str:
        """Returns a token as the vocabulary writes it, such as "##ing"; "" outside the vocabulary."""
        return self._core.id_to_token(token) or ""

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        """Copies the files from where they were read; `max_length` as in `Tokenizer.save`."""
        for name in SAVED:
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)
        if max_length is not None:
            save_json({**read_object(folder / SETTINGS), "model_max_length": max_length}, folder / SETTINGS)

    def _role(self, settings: dict[str, Any], role: str) -> int | None:
        text = token_text(settings.get(role))
        token: int | None = None if text is None else self._core.token_to_id(text)
        return token

    def _around(self) -> tuple[list[int], list[int]]:
        """Returns the special tokens before and after a text."""
        probe = self._core.encode(PROBE)
        inside = [place for place, special in enumerate(probe.special_tokens_mask) if not special]
        return (probe.ids[: inside[0]], probe.ids[inside[-1] + 1 :]) if inside else ([], [])

    def _spellings(self) -> dict[int, list[int]]:
        """Returns each special token's name as ordinary tokens, one a letter; an unknown token may stand for itself.

        A vocabulary of SentencePiece has special tokens among its pieces, so "</s>" in a text would become one.
        """
        added = self._core.get_added_tokens_decoder()
        names = {token: each.content for token, each in added.items() if each.special and token != self.unknown}
        return {token: [each for letter in name for each in self._letter(letter)] for token, name in names.items()}

    def _letter(self, letter: str) -> list[int]:
        piece = self._core.token_to_id(letter)
        if piece is not None:
            return [piece]
        names = [LETTERS[byte] if self._byte_level else f"<0x{byte:02X}>" for byte in letter.encode()]
        pieces = [self._core.token_to_id(name) for name in names]
        if None in pieces and self.unknown is not None:
            return [self.unknown]
        return [each for each in pieces if each is not None]

    def _as_text(self, tokens: list[int]) -> list[int]:
        """Spells special tokens that the text itself became."""
        first, last = len(self._before), len(tokens) - len(self._after)
        if self._spelled.keys().isdisjoint(tokens[first:last]):
            return tokens
        inside = (each for token in tokens[first:last] for each in self._spelled.get(token, [token]))
        return [*tokens[:first], *inside, *tokens[last:]]

    def _incomplete(self, tokens: Sequence[int]) -> int:
        """Counts the bytes at the end that begin a character and do not complete it."""
        if not self._byte_level and not self._byte_fallback:
            return 0
        content = b"".join(self._bytes(self.piece(token)) for token in tokens)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(content)
        held, _ = decoder.getstate()
        return len(held)

    def _bytes(self, piece: str) -> bytes:
        if self._byte_level and all(letter in BYTES for letter in piece):
            return bytes(BYTES[letter] for letter in piece)
        byte = BYTE_PIECE.fullmatch(piece) if self._byte_fallback else None
        return bytes([int(byte[1], 16)]) if byte else piece.encode()

    def _spans(self, text: str) -> list[tuple[int, int, int]]:
        renamed = self._renamed()
        encoded = renamed.core.encode(text, add_special_tokens=False)
        found: list[tuple[int, int, int]] = []
        for token, (begin, end) in zip(encoded.ids, encoded.offsets, strict=True):
            spelled = () if token in renamed.own else self._spelled.get(token, ())
            letters = [(each, begin + place, begin + place + 1) for place, each in enumerate(spelled)]
            found += letters or [(renamed.own.get(token, token), begin, end)]
        return found

    @functools.cache  # noqa: B019 - a tokenizer lives as long as its process
    def _renamed(self) -> _Renamed:
        """Returns a copy in which special tokens have names that no text has. Its offsets are those of the text: a
        post-processor may leave out spaces."""
        import tokenizers

        written = json.loads(self._core.to_str())
        special = [each for each in written["added_tokens"] if each["special"]]
        names = {each["content"]: f"{MARK}{each['id']}{MARK}" for each in special}
        for each in special:
            each |= {"content": names[each["content"]], "normalized": False}
        core = tokenizers.Tokenizer.from_str(json.dumps({**written, "post_processor": None}))
        numbers = [(core.token_to_id(each["content"]), each["id"]) for each in written["added_tokens"]]
        own = {token: theirs for token, theirs in numbers if token is not None}
        return _Renamed(core, own, names, re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))))


class _Renamed(NamedTuple):
    """A copy of a tokenizer in which special tokens have other names, so that their own are text.

    own: its numbers of added tokens, with those that they have elsewhere. names: of special tokens, with what they are
    called here; any of them matches the pattern.
    """

    core: tokenizers.Tokenizer
    own: dict[int, int]
    names: dict[str, str]
    pattern: re.Pattern[str]

    def marked(self, text: str) -> str:
        """Returns a text in which names of special tokens are special tokens."""
        return self.pattern.sub(lambda found: self.names[found[0]], unmarked(text)) if self.names else unmarked(text)


def unmarked(text: str) -> str:
    """Returns a text in which nothing is a special token."""
    return text.replace(MARK, "\ufffd")


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_core(file: Path) -> tokenizers.Tokenizer:
    """Reads a tokenizer.json; raises WeightsError if it is missing or damaged."""
    import tokenizers

    if not file.is_file():
        raise WeightsError(f"{file} does not exist: a model's folder must have its tokenizer")
    try:
        core = tokenizers.Tokenizer.from_file(str(file))
        core.encode(RARE)  # a vocabulary without its own unknown token fails at the first letter that it lacks
    except Exception as error:  # the package has no class of its own
        raise WeightsError(f"{file} is damaged ({first_line(error)}): get the file again") from error
    return core


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, or its class."""
    return (str(error).splitlines() or [type(error).__name__])[0]
