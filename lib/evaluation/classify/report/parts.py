"""What a report's page is made of: sections with paragraphs, tables, pictures, messages. How each looks is the
template's (`assets/page.html`), which escapes all text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

NOTHING = "–"  # a figure that is not defined
MOST_TOGETHER = 15  # rows of a table that is not divided between two pages
LONGEST_TEXT = 500  # characters of a message shown


@dataclass(frozen=True)
class Cell:
    """A cell of a table. small: a second line, such as an interval. shade: how dark it is, from 0 to 1."""

    text: str
    small: str = ""
    shade: float = 0.0


@dataclass(frozen=True)
class Table:
    """Rows that begin with a heading of their own.

    columns: their headings, that of the first one too. words: columns that hold words, on the left of their cells;
    numbers stand on the right. main: the column to go by.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: frozenset[int] = frozenset()
    main: int | None = None
    kind: ClassVar[str] = "table"

    @property
    def fits_a_page(self) -> bool:
        """Whether it is short enough to be kept together on paper."""
        return len(self.rows) <= MOST_TOGETHER


@dataclass(frozen=True)
class Picture:
    """A drawing with its caption."""

    drawing: Markup
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Drawings beside each other where there is room."""

    pictures: Sequence[Picture]
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Text:
    """A paragraph; a note is smaller and says how to read something."""

    words: str
    note: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    sentences: Sequence[str]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    values: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Quote:
    """A message: its text, cut where it is long, and what is said about it, in words."""

    text: str
    about: Sequence[str]
    alike: Sequence[Quote] = ()

    @property
    def shown(self) -> str:
        """As much of the text as the page shows."""
        return self.text if len(self.text) <= LONGEST_TEXT else f"{self.text[: LONGEST_TEXT - 1]}…"


@dataclass(frozen=True)
class Quotes:
    """Messages one below the other."""

    quotes: Sequence[Quote]
    kind: ClassVar[str] = "quotes"


Part = Table | Pictures | Text | Points | Facts | Quotes


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; one without parts is left out. name: in the page's address."""

    name: str
    title: str
    parts: Sequence[Part] = field(default=())


def cells(*texts: str) -> list[Cell]:
    """Returns a row of plain cells."""
    return [Cell(text) for text in texts]


def percent(share: float | None, digits: int = 2) -> str:
    """Writes a share, or that there is none."""
    return NOTHING if share is None else f"{share:.{digits}%}"


def range_of(low: float, high: float) -> str:
    """Writes an interval of a share in a sentence."""
    return f"{low:.2%} to {high:.2%}"


def bounds(low: str, high: str) -> str:
    """Writes an interval where there is little room, with its unit once."""
    return f"{low.removesuffix('%')}–{high}"


def p_value(value: float) -> str:
    """Writes a p-value with as many digits as matter."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
