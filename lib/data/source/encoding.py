"""Finds out how a file's bytes are characters: by a mark at its beginning, by what its bytes can only be, or by what
they most likely are."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from lib.data.source.data_file import DataFile
from lib.data.source.rows import Encoding
from lib.errors import MessagesError

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

CHUNK = 1 << 20  # bytes
HEAD = 1 << 16  # bytes that tell UTF-16 and UTF-32 without a mark
EVIDENCE = 1 << 16  # bytes of lines with other than ASCII characters, which the detector looks at

MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")  # several bytes a character, and many of them NUL
# The encodings of which one is looked for; those left out read the same text, or are of computers long gone.
DETECTED = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "koi8_r", "iso8859_2"),
    *("iso8859_5", "iso8859_15", "mac_roman", "cp437", "cp850", "cp866", "gb18030", "big5", "cp932", "euc_jp", "cp949"),
)
USUAL = "cp1252"  # what Excel and most programs of western Windows write
AMBIGUOUS = 0.9  # confidence is at most this where another encoding would read other characters as plausibly
PLAUSIBLE = 0.01  # share of implausible characters by which an encoding may be worse than the best
LEAST_CONFIDENCE = 0.5

NOT_ASCII = re.compile(rb"[^\n]*[\x80-\xff][^\n]*\n?")
SURROGATE = re.compile("[\ud800-\udfff]")  # what Python puts in place of bytes that it cannot decode
UNDECODED = re.compile("[\udc80-\udcff]")  # the same, but for halves of pairs that JSON writes
IMPOSSIBLE = {"Cc", "Cn", "Co", "Cs"}  # Unicode categories that texts hardly have


def find_encoding(file: DataFile, given: str | None = None, *, detect: bool = True, whole: bool = True) -> Encoding:
    """Finds out the encoding of a text file.

    given: its name, which is believed. detect: guess where the bytes are not UTF-8; otherwise such a file is UTF-8 with
    undecodable rows. whole: read the file through, to be sure; otherwise only the beginning is looked at, and any row
    may be undecodable.

    Raises MessagesError if no encoding is likely.
    """
    encoding = Encoding(_python_name(given), "given") if given else by_contents(file.head(HEAD))
    if not whole and can_be_read(encoding):
        return Encoding(encoding.name, encoding.how, damage=f"{file.name} was not read through")
    damage = undecodable(file, encoding.name)
    if damage is not None and encoding.how == "contents" and encoding.name == "utf-8" and detect:
        evidence = _evidence(file)
        if not _is_mostly_utf8(evidence):
            return _detected(file, evidence, damage)
    return Encoding(encoding.name, encoding.how, damage=damage)


def undecodable(file: DataFile, encoding: str) -> str | None:
    """Reads the file through; returns a sentence about the first byte that cannot be decoded, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = 0
    for chunk in _chunks(file):
        read += len(chunk)
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # error.object is the kept end of the previous chunk and then this one: it ends at byte `read`.
            position = read - len(error.object) + error.start
            name = encoding.upper() if encoding.startswith("utf") else encoding
            marked = by_contents(file.head(4)).name
            looks = "" if marked in ("utf-8", encoding) else f" (it looks like {marked.upper()})"
            return (
                f"{file.name} is not {name}: byte {position} (counted from 0) is 0x{error.object[error.start]:02x}"
                f"{looks}; save the file as UTF-8"
            )
        except UnicodeError as error:  # of UTF-16 and UTF-32 without what they must have
            return f"{file.name} is not {encoding.upper()} ({error}): save the file as UTF-8"
    return None


@contextmanager
def opened_text(file: DataFile, encoding: Encoding) -> Iterator[TextIO]:
    """Opens the file as text, with line ends as they are and without a byte order mark. What cannot be decoded becomes
    lone surrogates."""
    name = "utf-8-sig" if encoding.name == "utf-8" else encoding.name
    errors = "strict" if encoding.damage is None else "surrogateescape"
    with file.opened_lines() as source:
        yield io.TextIOWrapper(source, encoding=name, errors=errors, newline="")


def can_be_read(encoding: Encoding) -> bool:
    """Whether a file can be read in which a byte cannot be decoded: of UTF-16 and UTF-32 all that follows may be
    wrong."""
    return not encoding.name.startswith(("utf-16", "utf-32"))


def _python_name(given: str) -> str:
    name = codecs.lookup(given).name
    return "utf-8" if name == "utf-8-sig" else name


def by_contents(head: bytes) -> Encoding:
    """Tells the encoding by the first bytes: UTF-8 unless they have a mark or can only be UTF-16 or UTF-32."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return Encoding(name, "byte order mark")
    wide = next((name for name in WIDE if _is_wide(head, name)), None)
    return Encoding(wide or "utf-8", "contents")


def _is_wide(head: bytes, encoding: str) -> bool:
    """Whether these are characters of two or four bytes: read so they are all possible, with separators or line ends
    among them, and read byte by byte they are full of NULs and other control characters."""
    if b"\0" not in head:
        return False
    width = 4 if "32" in encoding else 2
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head[: len(head) // width * width])
    except UnicodeError:
        return False
    if not re.search("[\n\r\t,;|]", text) or any(map(_is_impossible, set(text))):
        return False
    controls = sum(head.count(byte) for byte in range(32) if byte not in b"\t\n\r")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return controls > len(head) / 50
    return controls > len(head) / 4  # a text in UTF-8 may have some NULs


def _is_impossible(character: str) -> bool:
    return character not in "\t\n\r\x0b\x0c\x1a" and unicodedata.category(character) in IMPOSSIBLE


def _evidence(file: DataFile) -> bytes:
    """Collects the first lines with other than ASCII characters, from anywhere in the file."""
    found, size = [], 0
    for chunk in _chunks(file):
        for line in NOT_ASCII.finditer(chunk):
            found.append(line[0][: EVIDENCE - size])
            size += len(found[-1])
            if size >= EVIDENCE:
                return b"".join(found)
    return b"".join(found)


def _is_mostly_utf8(evidence: bytes) -> bool:
    """Whether this is UTF-8 with a few damaged rows: more characters are written so than bytes cannot be."""
    text = evidence.decode("utf-8", "surrogateescape")
    wrong = len(SURROGATE.findall(text))
    return sum(not character.isascii() for character in text) - wrong > wrong


def _detected(file: DataFile, evidence: bytes, damage: str) -> Encoding:
    """Returns the likeliest encoding that can decode all of the file."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(evidence, cp_isolation=list(DETECTED), threshold=0.3))
    for name, confidence in _likeliest(evidence, matches):
        if confidence >= LEAST_CONFIDENCE and undecodable(file, name) is None:
            return Encoding(name, "detected", confidence)
    raise MessagesError(f"{damage}, or say which encoding it has with --data.encoding")


def _likeliest(evidence: bytes, matches: list[CharsetMatch]) -> Iterator[tuple[str, float]]:
    """Yields encodings with a confidence, the likeliest first. Of those that are about as plausible as the best the
    usual one comes first."""
    if not matches:
        return
    best = min(match.chaos for match in matches)
    rivals = {
        name: match
        for match in sorted(matches, key=lambda match: (match.chaos, -match.coherence))
        for name in match.could_be_from_charset
        if name in DETECTED
    }
    plausible = [name for name, match in rivals.items() if match.chaos <= best + PLAUSIBLE]
    texts = {evidence.decode(name, "replace") for name in plausible}
    for name in sorted(rivals, key=lambda name: (name not in plausible, name != USUAL)):
        confidence = 1 - rivals[name].chaos
        yield name, round(min(confidence, AMBIGUOUS) if len(texts) > 1 else confidence, 2)


def _chunks(file: DataFile) -> Iterator[bytes]:
    """Yields the file's bytes, and an empty chunk at the end."""
    with file.opened() as source:
        while chunk := source.read(CHUNK):
            yield chunk
    yield b""
