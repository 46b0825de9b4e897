"""The pictures of a comparison: what they show, that names keep apart, and that equal numbers give equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from lib.comparison.figures import MOST_ROWS, draw, draw_front, draw_values
from lib.comparison.scale import scale_of
from lib.comparison.search_figures import draw as draw_search
from lib.comparison.search_figures import draw_history, draw_importance
from lib.comparison.values import Comparison
from lib.comparison.writing import write_story
from lib.evaluation.figures import styled
from tests.support.compared import SEARCHED, grid, named, story


@pytest.fixture(autouse=True)
def in_style() -> Iterator[None]:
    with styled():
        yield


def axes_of(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def names_in(axes: Axes) -> list[Annotation]:
    return [each for each in axes.texts if isinstance(each, Annotation)]


def boxes(figure: Figure) -> list[Bbox]:
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()  # puts names in their places
    return [Text.get_window_extent(name, renderer) for name in names_in(axes_of(figure))]  # without its line


@pytest.mark.parametrize("comparison", [grid(8), grid(30)], ids=["8", "30"])
def test_names_beside_points_neither_overlap_nor_leave_the_picture(comparison: Comparison) -> None:
    figure = draw_front(comparison)
    found = boxes(figure)
    assert len(found) >= 8
    assert not [pair for pair in combinations(found, 2) if pair[0].overlaps(pair[1])]
    room = axes_of(figure).get_window_extent()
    assert all(room.x0 <= box.x0 and box.x1 <= room.x1 and box.y0 <= room.y1 for box in found)
    texts = [name.get_text() for name in names_in(axes_of(figure))]
    assert "TF-IDF" in texts
    bold = [name.get_text() for name in names_in(axes_of(figure)) if name.get_fontweight() == "bold"]
    assert bold == ["0.1, 8"]


def test_values_are_rows_in_order_with_the_chosen_one_in_bold() -> None:
    comparison = grid(8)
    axes = axes_of(draw_values(comparison))
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [
        "0.1, 8",
        "0.01, 8",
        "0.001, 8",
        "0.0001, 8",
        "1e-05, 8",
        "1e-06, 8",
        "0.1, 16",
        "0.01, 16",
        "TF-IDF",
    ]
    assert [label.get_fontweight() == "bold" for label in axes.get_yticklabels()] == [True, *[False] * 8]
    values = [text.get_text() for text in axes.texts]
    assert values == [f"{row.value:.2%}" if row.value is not None else "failed" for row in comparison.rows]


def test_a_value_far_behind_does_not_hide_how_the_others_differ() -> None:
    low, high = axes_of(draw_values(grid(8))).get_xlim()
    assert low > 0.9  # one of them is at 73 %
    assert high >= 0.99
    scale = scale_of([0.98, 0.99, 0.985, 0.2], "accuracy", [(0.2, 0.15, 0.25)])
    assert scale.low > 0.9
    assert scale.kept(0.2) == scale.low
    assert scale_of([0.1, 0.12, 0.11, 2.0], "log_loss").high < 0.2
    assert scale_of([0.5, 0.5], "f1").has(0.5)


def test_published_figures_of_the_same_split_stand_beside_ours() -> None:
    figure = draw_values(named(("a", "b", "c"), {"validation": 0.985, "test": 0.4}))
    diamonds = [line for line in axes_of(figure).lines if line.get_marker() == "D"]
    assert [float(line.get_xdata()[0]) for line in diamonds] == [0.985, 0.985]  # type: ignore[index,arg-type]
    assert "published" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_of_many_variants_the_best_and_those_of_the_front_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.comparison.figures.MOST_POINTS", 5)
    comparison = grid(20)
    drawn = [line for line in axes_of(draw_front(comparison)).lines if line.get_marker() in ("o", "s")]
    front = {row.name for row in comparison.rows if row.on_front}
    assert len(drawn) == len(front | {row.name for row in comparison.first_rows(5)})
    axes = axes_of(draw_values(grid(60)))
    assert len(axes.get_yticklabels()) == MOST_ROWS
    assert axes.get_yticklabels()[-1].get_text() == "TF-IDF"


def test_there_is_a_picture_of_what_is_known_only() -> None:
    assert list(draw(grid(8))) == ["values", "front"]
    assert list(draw(grid(8, metric="log_loss"))) == ["values", "front"]
    assert list(draw(grid(8, metric="roc_auc"))) == []
    assert list(draw_search(SEARCHED, "accuracy")) == ["history", "importance"]


def test_a_search_shows_its_best_and_what_matters() -> None:
    axes = axes_of(draw_history(SEARCHED, "accuracy"))
    best, *_ = axes.lines
    assert list(best.get_ydata()) == [0.95, 0.97, 0.97]  # type: ignore[arg-type]
    assert [text.get_text() for text in axes.texts] == ["trial 3: 97.00%"]
    lowest, *_ = axes_of(draw_history(SEARCHED, "log_loss")).lines
    assert list(lowest.get_ydata()) == [0.95, 0.95, 0.95]  # type: ignore[arg-type]
    bars = axes_of(draw_importance(SEARCHED))
    assert [label.get_text() for label in bars.get_yticklabels()] == ["training.learning_rate", "training.batch_size"]
    assert [text.get_text() for text in bars.texts] == ["70%", "30%"]


def test_the_page_the_table_and_the_pictures_lie_in_one_folder(tmp_path: Path) -> None:
    files = write_story(tmp_path / "new" / "folder", story(grid(6)))
    pictures = [f"figures/{name}.{kind}" for name in ("values", "front") for kind in ("png", "pdf")]
    assert files == ["comparison.html", "comparison.parquet", "comparison.csv", *pictures]
    written = {str(file.relative_to(tmp_path / "new" / "folder")) for file in tmp_path.rglob("*.*")}
    assert written == set(files)
