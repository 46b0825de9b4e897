import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from lib.evaluation.classify.calibration import calibration
from lib.evaluation.classify.figures import Outcome, draw_accuracy, draw_reliability, write_figures
from lib.evaluation.figures import draw_loss
from lib.model.labels import with_temperature

PROJECT = Path(__file__).resolve().parents[4]
NAMES = ["loss", "accuracy", "confusion", "precision_recall", "reliability"]


def history(rows: int = 20, per_epoch: int = 10) -> pd.DataFrame:
    step = np.arange(rows)
    loss = np.exp(-step / 8)
    return pd.DataFrame(
        {
            "step": step,
            "epoch": (step + 1) / per_epoch,
            "examples_seen": (step + 1) * 16,
            "train_loss": loss,
            "validation_loss": loss + 0.1 + np.where(step > 12, (step - 12) / 20, 0),
            "train_accuracy": 1 - loss / 4,
            "validation_accuracy": np.where(step % 5 == 4, 1 - loss / 3, np.nan),
        }
    )


def draw(
    folder: Path,
    *,
    labels: tuple[str, ...] = ("ham", "spam"),
    positive: str | None = "spam",
    rows: int = 60,
    present: int | None = None,
    baseline: bool = True,
) -> list[str]:
    generator = np.random.default_rng(3)
    targets = generator.integers(0, present or len(labels), rows)
    scores = generator.random((rows, len(labels))) + np.eye(len(labels))[targets]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    outcome = Outcome(
        targets=targets,
        given=probabilities.argmax(axis=1),
        probabilities=probabilities,
        baseline=probabilities[:, ::-1] if baseline else None,
        labels=labels,
        positive=positive,
        calibrations={
            "as answered": calibration(targets, probabilities),
            "if it were calibrated": calibration(targets, with_temperature(probabilities, 0.3)),
        },
    )
    return write_figures(folder, outcome, history=history(), majority_share=0.6)


def test_every_picture_is_written_as_png_and_pdf_and_the_callers_settings_stay(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    assert draw(tmp_path) == NAMES
    assert dict(matplotlib.rcParams) == before
    assert {file.name for file in tmp_path.iterdir()} == {f"{n}.{kind}" for n in NAMES for kind in ("png", "pdf")}
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "loss.pdf").read_bytes().startswith(b"%PDF")


def test_another_process_with_other_settings_gives_the_same_bytes_without_pyplot(tmp_path: Path) -> None:
    draw(tmp_path / "here")
    settings = tmp_path / "matplotlibrc"
    settings.write_text("lines.linewidth: 9\nfont.family: serif\nfigure.dpi: 30\nsavefig.bbox: tight\n")
    program = (
        "import sys; from pathlib import Path; from tests.lib.evaluation.classify.test_figures import draw;"
        " draw(Path(sys.argv[1]));"
        " sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    environment = {
        **os.environ,
        "MATPLOTLIBRC": str(settings),
        "MPLBACKEND": "tkagg",
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(PROJECT),
    }
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "there")], env=environment, check=True)
    for file in (tmp_path / "here").iterdir():
        assert file.read_bytes() == (tmp_path / "there" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("costs $5$", "日本語 😀"), "日本語 😀"),
        (("a", "x" * 200, "_underscore", "100%"), None),
        (tuple(f"label {i}" for i in range(45)), None),
    ],
)
@pytest.mark.filterwarnings("error")
def test_awkward_and_many_labels_are_drawn_without_warnings(
    tmp_path: Path, labels: tuple[str, ...], positive: str | None
) -> None:
    assert draw(tmp_path, labels=labels, positive=positive, rows=300, baseline=positive is not None) == NAMES


@pytest.mark.filterwarnings("error")
def test_a_test_split_without_the_positive_label_is_drawn(tmp_path: Path) -> None:
    assert draw(tmp_path, present=1) == NAMES


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_short_histories_are_drawn(rows: int) -> None:
    for figure in (draw_loss(history(rows)), draw_accuracy(history(rows), 0.6)):
        figure.draw_without_rendering()
        assert len(np.asarray(figure.axes[0].lines[0].get_xdata())) == rows


def test_both_splits_are_drawn_over_epochs_with_examples_seen_above() -> None:
    figure = draw_loss(history())
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["train"].get_xdata() == pytest.approx(history()["epoch"])
    assert lines["validation"].get_ydata() == pytest.approx(history()["validation_loss"])
    (above,) = axes.child_axes
    figure.draw_without_rendering()
    assert above.get_xlim() == pytest.approx(np.array(axes.get_xlim()) * 160)  # 10 batches of 16 an epoch


def test_the_lowest_validation_loss_is_marked() -> None:
    curve = history()
    best = curve.iloc[int(curve["validation_loss"].argmin())]
    (axes,) = draw_loss(curve).axes
    assert [text.get_text() for text in axes.texts] == [f"lowest: {best['validation_loss']:.3f}"]
    (mark,) = axes.texts
    assert isinstance(mark, Annotation)
    assert mark.xy == (best["epoch"], best["validation_loss"])


def test_accuracy_that_was_not_measured_leaves_no_gap_and_no_mark() -> None:
    curve = history()
    (axes,) = draw_accuracy(curve, 0.6).axes
    validation = next(line for line in axes.lines if line.get_label() == "validation")
    assert len(np.asarray(validation.get_xdata())) == curve["validation_accuracy"].notna().sum()
    assert [text.get_text() for text in axes.texts] == ["always the most frequent label: 60.0%"]


def test_reliability_shows_each_bin_and_how_far_away_they_are_on_average() -> None:
    targets = np.array([0, 1, 1, 1, 0])
    found = calibration(targets, np.array([[0.9, 0.1], [0.96, 0.04], [0.2, 0.8], [0.45, 0.55], [1.0, 0.0]]))
    figure = draw_reliability({"as answered": found})
    above, below = figure.axes
    ideal, points = above.lines
    assert ideal.get_xdata() == pytest.approx(ideal.get_ydata())
    assert points.get_xdata() == pytest.approx([each.confidence for each in found.bins])
    assert points.get_ydata() == pytest.approx([each.accuracy for each in found.bins])
    bars = [bar for bar in below.patches if isinstance(bar, Rectangle)]
    assert [bar.get_height() for bar in bars] == [each.rows for each in found.bins]
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said[1] == f"as answered: {found.error:.1%} away on average, {found.by_chance:.1%} by chance"
    both = draw_reliability({"before the temperature": found, "as answered": found}).axes[0].lines[1:]
    assert len({(line.get_marker(), line.get_markerfacecolor()) for line in both}) == 2  # told apart without colours
