"""Says how a text is shown: with nothing in it that a terminal would obey."""

import re

# What does something to a terminal, or makes a line look like another one: control characters of ASCII and of Latin-1
# (U+009B begins a command as ESC [ does), ends of lines and paragraphs, what changes the direction of writing
# (CVE-2021-42574), and half characters, which cannot be written.
_OBEYED = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_A_LINE = re.compile(f"[{_OBEYED}]")
_IN_LINES = re.compile(f"(?![\n\t])[{_OBEYED}]")


def visible(text: str, *, lines: bool = False) -> str:
    """Returns the text as it may be shown: what a terminal would obey is written as JSON writes it, `\\u001b`. `lines`:
    ends of lines and tabs stay."""
    return (_IN_LINES if lines else _IN_A_LINE).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
