"""Draws tables and bars: what is in them from data, names and servers is shown, and never obeyed by a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from lib.visible import visible


def console(**how: Any) -> Console:
    """Returns what draws, as `rich.console.Console` is made."""
    made = Console(**how)
    made.push_render_hook(_ShownNotObeyed())
    return made


class _ShownNotObeyed(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Returns what is drawn instead."""
        return [_Visible(each) for each in renderables]


class _Visible:
    """Something drawn, with the characters in it made visible; `drawn` has its own commands to the terminal apart."""

    def __init__(self, drawn: ConsoleRenderable) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._drawn, options):
            yield segment if segment.control else Segment(visible(segment.text, lines=True), segment.style)
