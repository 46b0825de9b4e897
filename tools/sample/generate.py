"""Writes the bundled sample, the same bytes on every run: `python -m tools.sample.generate`.

After a change of its sources, put the figures that it prints into lib/data/samples/messages.py.
"""

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lib.data.samples.messages import ARCHIVE, MEMBER
from tools.sample.dice import Dice
from tools.sample.noise import Habits, near_copy, rewrite
from tools.sample.templates import Group, endless

_ASSETS = Path(__file__).resolve().parent
_SEED = 167  # chosen for an order in which stray quotes swallow few rows when the file is read with CSV quoting
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold
_UNIX = 3  # "made by" in a zip entry; otherwise it would depend on the machine


class Message(NamedTuple):
    """One line of the sample; the label is `ham` or `spam`."""

    label: str
    text: str


def member() -> bytes:
    """The sample in the SMS Spam Collection's format: UTF-8 lines of label, tab, text; no header, no quoting."""
    return "".join(f"{message.label}\t{message.text}\n" for message in messages()).encode()


def messages() -> list[Message]:
    """All messages of the sample in their order."""
    dice = Dice(_SEED)
    config = _read_yaml("templates.yaml")
    found = handwritten()
    for raw in config["groups"]:
        group = Group(raw["label"], raw["voice"], int(raw["messages"]), raw["templates"])
        known = {message.text for message in found}
        found += islice(_generated(group, config["slots"], known, dice), group.messages)
    return dice.shuffled(found + _copies(found, config["copies"], dice))


def handwritten() -> list[Message]:
    """The messages of assets/handwritten.tsv."""
    lines = (_ASSETS / "handwritten.tsv").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [Message(*line.split("\t")) for line in lines]


def archive(content: bytes) -> bytes:
    """The bytes of a zip archive with `content` as its only member.

    Stored, not deflated: builds of zlib differ in the bytes they make, and sixty kilobytes are not worth that.
    """
    entry = zipfile.ZipInfo(MEMBER, date_time=_EPOCH)
    entry.create_system = _UNIX
    entry.external_attr = 0o100644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        file.writestr(entry, content)
    return buffer.getvalue()


def _generated(group: Group, slots: dict[str, list[str]], known: set[str], dice: Dice) -> Iterator[Message]:
    """Messages of one group that differ from each other and from all `known` texts."""
    known = set(known)
    for plain in endless(group, slots, dice):
        text = rewrite(plain, group.voice, _HABITS, dice)
        if text not in known:
            known.add(text)
            yield Message(group.label, text)


def _copies(found: Sequence[Message], counts: dict[str, dict[str, str]], dice: Dice) -> list[Message]:
    """Exact and near copies of messages drawn from `found`, each drawn once, as many as `counts` says."""
    copies = []
    known = {message.text for message in found}
    for label in ("ham", "spam"):
        exact, near = int(counts["exact"][label]), int(counts["near"][label])
        drawn = dice.shuffled([message for message in found if message.label == label])[: exact + near]
        copies += drawn[:exact]
        copies += [Message(label, near_copy(message.text, known, dice)) for message in drawn[exact:]]
    return copies


def _read_yaml(name: str) -> Any:
    """Every scalar as a string: `7.30` and `18:30` are times of day here, not numbers."""
    return yaml.load((_ASSETS / name).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def _habits() -> Habits:
    raw = _read_yaml("noise.yaml")
    voices, styles = (
        {name: {key: float(number) for key, number in rates.items()} for name, rates in raw[part].items()}
        for part in ("voices", "styles")
    )
    return Habits(voices, styles, raw["emoji"], raw["slang"])


_HABITS = _habits()


def main() -> None:
    """Write the archive and print what lib/data/sample/__init__.py has to say."""
    content = member()
    ARCHIVE.write_bytes(archive(content))
    lines = content.decode().splitlines()
    spam = sum(line.startswith("spam\t") for line in lines)
    sys.stdout.write(f"SHA256 = {hashlib.sha256(content).hexdigest()!r}\nROWS = {len(lines)}\nSPAM = {spam}\n")


if __name__ == "__main__":
    main()
