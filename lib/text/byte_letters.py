"""Names the letter that stands for each byte in byte-level vocabularies.

It is `bytes_to_unicode` of GPT-2's encoder.py (Radford et al. 2019): printable bytes of Latin-1 stand for themselves,
the others for the letters from U+0100 on.
"""

from __future__ import annotations


def _letters() -> tuple[str, ...]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in printable)
    shown = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return tuple(shown[byte] for byte in range(256))


LETTERS = _letters()  # by byte
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}
