"""Makes the README's pictures from real runs: `python docs/screenshots.py`, with Chromium and its driver installed.

It runs `quickstart` twice, with two learning rates, in a home of its own and against servers of its own, looks at
their pages, and writes docs/images/. Nothing in the pictures is drawn by hand, so after a change of a page or of the
recipe this makes them anew. It takes some minutes.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]
IMAGES = PROJECT / "docs" / "images"
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]  # the tests' browser is the one that looks

from chromium import Browser, chromium, missing  # noqa: E402
from e2e import free_port  # noqa: E402

RECIPE = "quickstart"
OTHER_LEARNING_RATE = "1e-4"
GAP = 60  # pixels between two curves
CURVES_WIDTH = 1600  # pixels of both
CHARTS_HEIGHT = 670  # pixels of MLflow's pages down to the end of the first row of charts
COLOURS = ("#0072B2", "#D55E00")  # of the two runs; MLflow would choose by chance
IN_MLFLOW = "workflowType=machine_learning"
# MLflow opens a panel with a chat on every first visit.
NO_PANEL = """
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')
"""


@contextmanager
def servers(environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Prefect's and MLflow's addresses, while `python -m flows.ui` runs."""
    prefect, mlflow = free_port(), free_port()
    command = [sys.executable, "-m", "flows.ui", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    ui = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert ui.stdout is not None
        if not all(ui.stdout.readline() for _ in range(2)):
            sys.exit("error: python -m flows.ui did not start")
        yield f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}"
    finally:
        ui.send_signal(signal.SIGINT)
        ui.communicate()


def run(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Runs the recipe; what `--json` prints."""
    command = [sys.executable, "-m", "flows.classify", "--recipe", RECIPE, "--json", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def save(picture: Image.Image, name: str) -> None:
    """Writes a PNG with a palette, a third of the size and to the eye the same."""
    file = IMAGES / f"{name}.png"
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(PROJECT)}: {file.stat().st_size / 1000:.0f} kB")  # noqa: T201 - this is the output


def save_window(browser: Browser, name: str, height: int | None = None) -> None:
    """Writes the window as it is, or its upper part."""
    picture = Image.open(io.BytesIO(browser.picture()))
    save(picture.crop((0, 0, picture.width, height or picture.height)), name)


def curves(result: dict[str, Any]) -> None:
    """Loss and accuracy of a run, from its evaluation, side by side."""
    (folder,) = [Path(step["artifact"]["folder"]) for step in result["steps"] if step["step"] == "evaluate"]
    pictures = [Image.open(folder / "figures" / f"{name}.png").convert("RGB") for name in ("loss", "accuracy")]
    left, right = pictures
    both = Image.new("RGB", (left.width + GAP + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    save(both.resize((CURVES_WIDTH, both.height * CURVES_WIDTH // both.width), Image.Resampling.LANCZOS), "curves")


def terminal(result: dict[str, Any]) -> None:
    """What a run prints at its end."""
    from rich.console import Console

    from flows.terminal import Result, show_result
    from lib.recipe_file import load_recipe

    console = Console(record=True, width=76, file=io.StringIO())
    show_result(console, Result.model_validate(result), load_recipe(RECIPE, {}))
    svg = console.export_svg(title=f"python -m flows.classify --recipe {RECIPE}", unique_id="terminal")
    # Rich would have the picture fetch its font from a server.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (IMAGES / "terminal.svg").write_text(svg, encoding="utf-8")


def prefect_page(browser: Browser, prefect: str, result: dict[str, Any]) -> None:
    """A flow run: the graph of its steps, and below it the log, which says what was reused."""
    browser.open(f"{prefect}/runs/flow-run/{result['flow_run']}")
    browser.see("Finished in state Cached", "promote")
    save_window(browser, "prefect-run")


def mlflow_pages(browser: Browser, mlflow: str, runs: list[str]) -> None:
    """The curves of the first run, and a comparison of both."""
    for run_id, colour in zip(runs, COLOURS, strict=True):
        MlflowClient(mlflow).set_tag(run_id, "mlflow.runColor", colour)
    browser.open(f"{mlflow}/health")
    browser.run(NO_PANEL)
    for name, page, charts in (
        ("mlflow-run", f"runs/{runs[0]}/model-metrics?", ("train_loss", "validation_accuracy", "validation_loss")),
        ("mlflow-compare", "runs?compareRunsMode=CHART&", ("test_accuracy", "validation_accuracy", "validation_loss")),
    ):
        browser.open(f"{mlflow}/#/experiments/1/{page}{IN_MLFLOW}")
        browser.type("Search metric charts", f"^({'|'.join(charts)})$")
        browser.see("(3)", *charts)
        save_window(browser, name, CHARTS_HEIGHT)


def main() -> None:
    if missing():
        sys.exit(f"error: {' and '.join(missing())} not found: install Chromium and its driver")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="finetune-screenshots-") as home:
        environment = {**os.environ, "FINETUNE_HOME": home, "PREFECT_API_URL": "", "MLFLOW_TRACKING_URI": ""}
        with servers(environment) as (prefect, mlflow):
            environment |= {"PREFECT_API_URL": f"{prefect}/api", "MLFLOW_TRACKING_URI": mlflow}
            first = run(environment)
            second = run(environment, f"--training.learning_rate={OTHER_LEARNING_RATE}")
            curves(first)
            terminal(first)
            with chromium() as browser:
                prefect_page(browser, prefect, second)
                mlflow_pages(browser, mlflow, [first["mlflow_run"], second["mlflow_run"]])


if __name__ == "__main__":
    main()
