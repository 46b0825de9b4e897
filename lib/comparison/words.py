"""Numbers and names as the pages and pictures of a comparison write them."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from lib.comparison.values import SMALLER_IS_BETTER, Metric, Row, written

LEAST_ALIKE = 2  # names that have words in common, from which on these are left out
NONE = "–"  # what is not known, or does not exist


def seconds_written(seconds: float | None) -> str:
    """Writes a duration in the unit that it is read best in."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def count_written(count: int | None) -> str:
    """Writes a large number with three digits."""
    if count is None:
        return NONE
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:,.0f}{unit}" if count >= 999.5 * size else f"{count / size:.3g}{unit}"
    return f"{count}"


def bytes_written(size: int | None) -> str:
    """Writes an amount of memory."""
    if size is None:
        return NONE
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def difference_written(metric: Metric, difference: float | None) -> str:
    """Writes a difference with its sign: of accuracies in points."""
    if difference is None:
        return NONE
    scaled, digits = (100 * difference, 2) if metric == "accuracy" else (difference, 4)
    return f"{round(scaled, digits) + 0.0:+.{digits}f}".replace("-", "−")  # 0.0 makes a zero of minus zero


def interval_written(metric: Metric, low: float, high: float) -> str:
    """Writes an interval where there is little room, with its unit once."""
    return f"{written(metric, low).removesuffix('%')}–{written(metric, high)}"


def direction(metric: Metric) -> str:
    """Says which way is better, where it may not be clear."""
    return " (smaller is better)" if metric in SMALLER_IS_BETTER else ""


def middle_cut(name: str, longest: int) -> str:
    """Returns a name on one line, with as much of both ends as there is room for: a grid's differ at either."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


def web_address(link: str) -> str | None:
    """Returns the address of a page, fit for Markdown and HTML; None if it is no page's."""
    link = link.strip()
    if not link.startswith(("http://", "https://")):
        return None
    return quote(link, safe=":/?#@!$&*+,;=%~-._[]")


def short_names(rows: Sequence[Row]) -> tuple[dict[str, str], str]:
    """Returns what to call variants where there is little room, by their names, and what that leaves out: those of a
    grid, `learning_rate 0.1, batch_size 8`, are called by their values, if all names then still differ, and what they
    have in common, `learning_rate, batch_size`, is left out. Others keep their names."""
    grid = {row.name: parts for row in rows if (parts := _parts(row)) is not None}
    common = {words for words, _ in grid.values()}
    names = {row.name: row.name for row in rows}
    short = names | {name: values for name, (_, values) in grid.items()}
    if len(common) != 1 or len(grid) < LEAST_ALIKE or len(set(short.values())) < len(rows):
        return names, ""
    return short, common.pop()


def _parts(row: Row) -> tuple[str, str] | None:
    """Returns the words and the values of a name that was made of what the variant changes."""
    parts = [part.rpartition(" ") for part in row.name.split(", ")]
    words = [word for word, _, _ in parts]
    if not row.changes or words not in ([path.rpartition(".")[2] for path in row.changes], list(row.changes)):
        return None
    return ", ".join(words), ", ".join(value for _, _, value in parts)
