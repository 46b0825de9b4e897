"""Writes a comparison into a folder: the page, the table in two formats, and the pictures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from lib.comparison import figures, search_figures
from lib.comparison.page import page
from lib.comparison.story import Story
from lib.comparison.table import write_csv, write_parquet
from lib.evaluation.figures import save_figures

PAGE, PARQUET, CSV, FIGURES = "comparison.html", "comparison.parquet", "comparison.csv", "figures"


def write_story(folder: Path, story: Story) -> list[str]:
    """Writes all of it into `folder`, which may exist; returns the files' names in it, the page first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(page(story), encoding="utf-8")
    write_parquet(story, folder / PARQUET)
    write_csv(story, folder / CSV)

    def draw() -> dict[str, Figure]:
        found = figures.draw(story.comparison)
        return found if story.search is None else found | search_figures.draw(story.search, story.comparison.metric)

    pictures = save_figures(folder / FIGURES, draw)
    return [PAGE, PARQUET, CSV, *(f"{FIGURES}/{name}.{kind}" for name in pictures for kind in ("png", "pdf"))]
