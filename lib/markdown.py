"""Escapes text for Markdown pages: labels and file names are people's own words, and may look like markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

GAP = "&emsp;"  # MLflow's pages take the styles away that would keep columns apart
MOST_POINTS = 12  # of a list, on pages whose length MLflow limits
# What starts markup anywhere: code, emphasis, links, HTML, cells, headings. An underscore inside a word does not.
_MARKUP = re.compile(r"[\\`*\[\]<>|#~]|(?<!\w)_|_(?!\w)")


def plain(text: str) -> str:
    """Returns the text on one line, shown by Markdown as it stands."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()).replace("&", "&amp;"))


def code(text: str) -> str:
    """Returns the text on one line as a code span, whatever backticks it has."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    inside = f" {text} " if text.startswith("`") or text.endswith("`") else text
    return f"{fence}{inside}{fence}"


def bullets(sentences: Sequence[str]) -> str:
    """Returns a list with a point for each of the first sentences, shown as they stand, and the number of others."""
    shown = [f"- {plain(sentence)}" for sentence in sentences[:MOST_POINTS]]
    others = len(sentences) - len(shown)
    return "\n".join([*shown, f"- and {others:,} more"] if others else shown)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Returns the lines of a table, from cells that are Markdown. `numbers`: columns after the first are aligned to the
    right."""
    dashes = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    return [_row(header), f"|{'|'.join(dashes)}|", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    *apart, last = cells
    return f"| {' | '.join([*(f'{cell}{GAP}' for cell in apart), last])} |"
