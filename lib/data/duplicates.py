"""Defines when two texts count as near-duplicates."""

from __future__ import annotations

import unicodedata

# Digits, everything that Unicode calls punctuation, separator or control, invisible joiners (Cf), and the
# symbols that stand among punctuation on a keyboard: currency, mathematics and bare accents (Sc, Sm, Sk).
# Other symbols (So) are kept, because emoji are among them.
LEVELLED = {"Nd", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp", "Cc", "Cf", "Sc", "Sm", "Sk"}
VARIATION_SELECTORS = range(0xFE00, 0xFE10)  # they choose between the looks of one emoji


class _Levels(dict[int, int | None]):
    """The table for `str.translate`: code point to itself or None (dropped), looked up once for each."""

    def __missing__(self, code: int) -> int | None:
        dropped = unicodedata.category(chr(code)) in LEVELLED or code in VARIATION_SELECTORS
        self[code] = None if dropped else code
        return self[code]


_LEVELS = _Levels()


def normalise(text: str) -> str:
    """What is left of a text when case, digits, punctuation and space are levelled.

    Two texts are near-duplicates when this is the same for both: "Call 0800-123 NOW!" and "call 0900 99 now".
    Width and composition of characters are levelled too (NFKC). A text of which nothing would be left stays
    as it is, so that "!!!" and "???" are different.
    """
    levelled = unicodedata.normalize("NFKC", text).casefold().translate(_LEVELS)
    return levelled or text
