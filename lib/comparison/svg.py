"""Turns pictures into SVG elements of a page, coloured by the page's own light or dark theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lib.evaluation.figures import BLUE, FAINT, GREEN, INK, MUTED, PURPLE, VERMILION, styled

# The colours of `lib.evaluation.figures` by the names that the page's style has for them.
THEMED = {
    INK: "--ink",
    MUTED: "--c3",
    FAINT: "--line",
    BLUE: "--c1",
    VERMILION: "--c2",
    PURPLE: "--c4",
    GREEN: "--good",
    "#FFFFFF": "--card",
}
METADATA = {"Date": None, "Creator": None}
_COLOUR = re.compile("|".join(THEMED), re.IGNORECASE)
# Comments, metadata, and a style that would be the whole page's.
_LEFT_OUT = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_SIZE = re.compile(r' (?:width|height|version)="[^"]*"')
_NAME = re.compile(r'( id="|href="#|url\(#)')


def drawn(draw: Callable[[], Mapping[str, Figure]], described: Mapping[str, str]) -> dict[str, Markup]:
    """Returns the SVG element of each picture that `draw` returns. described: what each shows, in words, for who cannot
    see it. Equal numbers give equal bytes."""
    with styled():
        matplotlib.rcParams["svg.hashsalt"] = "comparison"
        return {name: _element(name, figure, described[name]) for name, figure in draw().items()}


def _element(name: str, figure: Figure, described: str) -> Markup:
    written = io.StringIO()
    FigureCanvasSVG(figure).print_svg(written, metadata=METADATA)  # type: ignore[no-untyped-call]
    source = _LEFT_OUT.sub("", written.getvalue())
    start = source.index("<svg")
    opening, rest = source[start : source.index(">", start)], source[source.index(">", start) :]
    opening = f'{_SIZE.sub("", opening)} stroke-linejoin="round" role="img" aria-label="{escape(described)}"'
    rest = _NAME.sub(rf"\g<1>{name}-", rest)  # names are the whole page's, and each picture has a `figure_1`
    return Markup(opening + _COLOUR.sub(lambda found: f"var({THEMED[found[0].upper()]})", rest))
