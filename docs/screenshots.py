"""Makes the README's pictures from real runs: `make screenshots`, with Chromium and its driver installed.

It runs `quickstart` of the first flow with two learning rates, and the first once more, which finds all it needs, and
`quickstart` of the second flow once, in a home of its own
and with all that `make up` starts, looks at the pages, and writes docs/images/. Nothing in the pictures is drawn by
hand, so after a change of a page or of the recipe this makes them anew. It takes some minutes.
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

import httpx
from mlflow import MlflowClient
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]
IMAGES = PROJECT / "docs" / "images"
sys.path.insert(0, str(PROJECT))  # the tests' browser is the one that looks

from tasks.record.view import IN_MLFLOW, runs_page  # noqa: E402
from tests.support.chromium import Browser, chromium, missing  # noqa: E402
from tests.support.e2e import free_port  # noqa: E402

RECIPE = "quickstart"
OTHER_LEARNING_RATE = "1e-4"
COMPARISON = "learning-rates"
GAP = 60  # pixels between two curves
CURVES_WIDTH = 1600  # pixels of both
CHARTS_HEIGHT = 720  # pixels of MLflow's page down to the end of the first row of charts
LIST_HEIGHT = 430  # pixels of MLflow's page down to the end of the list of runs
DEPLOYMENTS_HEIGHT = 560  # pixels of Prefect's page down to the end of the list
TRIED = "You are a winner: claim your free prize by texting WIN to 80082"
STILL = """
const style = document.createElement('style')
style.textContent = '* { animation: none !important; transition: none !important }'
document.head.append(style)
"""
COLOURS = ("#0072B2", "#D55E00")  # of the two runs; MLflow would choose by chance
# The runs below the first one.
EXPAND = "[...document.querySelectorAll('[role=gridcell] button')].find(each => each.querySelector('svg')).click()"
# MLflow opens a panel with a chat on every first visit.
NO_PANEL = """
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')
"""


@contextmanager
def started(environment: dict[str, str], ready: str, *command: str) -> Iterator[None]:
    """`python -m {command}`, from when it prints a line with `ready` in it to the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if not any(ready in line for line in process.stdout):
            sys.exit(f"error: python -m {command[0]} did not start")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def run(environment: dict[str, str], *arguments: str, flow: str = "flows.classify") -> dict[str, Any]:
    """Runs the recipe; what `--json` prints."""
    recipe = [] if flow == "flows.compare" else ["--recipe", RECIPE]
    command = [sys.executable, "-m", flow, *recipe, "--json", *arguments]
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

    from flows.classify import PROGRAM
    from flows.run.result import Result
    from flows.terminal.display import show_result

    console = Console(record=True, width=76, file=io.StringIO())
    # The home of these runs is a temporary folder, which is nobody else's.
    shown = {**result, "report": f"/home/you/finetune-flows/.finetune/reports/{Path(result['report']).name}"}
    show_result(console, Result.model_validate(shown), PROGRAM.recipe(RECIPE), PROGRAM)
    svg = console.export_svg(title=f"finetune classify --recipe {RECIPE}", unique_id="terminal")
    # Rich would have the picture fetch its font from a server.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (IMAGES / "terminal.svg").write_text(svg, encoding="utf-8")


def prefect_page(browser: Browser, prefect: str, result: dict[str, Any]) -> None:
    """A flow run, the graph of its steps and below it the log, which says what was reused; and its report."""
    browser.open(f"{prefect}/runs/flow-run/{result['flow_run']}")
    browser.see("Finished in state Cached", "promote")
    save_window(browser, "prefect-run")
    of_run = {"flow_runs": {"id": {"any_": [result["flow_run"]]}}, "artifacts": {"key": {"any_": ["report"]}}}
    (report,) = httpx.post(f"{prefect}/api/artifacts/filter", json=of_run).json()
    browser.open(f"{prefect}/artifacts/artifact/{report['id']}")
    browser.see("This run in MLflow")
    save_window(browser, "prefect-report")


def mlflow_pages(browser: Browser, mlflow: str, runs: list[str]) -> None:
    """The list of runs, the comparison of their curves, and a run, as a first visit shows them."""
    for run_id, colour in zip(runs, COLOURS, strict=True):
        MlflowClient(mlflow).set_tag(run_id, "mlflow.runColor", colour)
    browser.open(f"{mlflow}/health")
    browser.run(NO_PANEL)
    listed = f"{mlflow}{runs_page(MlflowClient(mlflow), '1')}"
    browser.open(listed)
    browser.see("test/accuracy", "test/over_baseline")
    save_window(browser, "mlflow-list", LIST_HEIGHT)
    browser.open(f"{listed}&compareRunsMode=CHART")
    browser.see("curves", "(2)", "test/accuracy")
    save_window(browser, "mlflow-compare", CHARTS_HEIGHT)
    browser.open(f"{mlflow}/#/experiments/1/runs/{runs[0]}?{IN_MLFLOW}")
    browser.see("baseline/test/accuracy", "Loss and accuracy while training")
    save_window(browser, "mlflow-run")


def answers_page(browser: Browser, mlflow: str, result: dict[str, Any]) -> None:
    """The table of answers that a run of the second flow leaves."""
    run_id = result["mlflow_run"]
    experiment = MlflowClient(mlflow).get_run(run_id).info.experiment_id
    browser.open(f"{mlflow}/#/experiments/{experiment}/runs/{run_id}/artifacts/answers.json?{IN_MLFLOW}")
    browser.see("instruction", "reference", "response")
    save_window(browser, "mlflow-answers")


def report_page(browser: Browser, result: dict[str, Any]) -> None:
    """The beginning of a run's report."""
    browser.open(Path(result["report"]).as_uri())
    browser.see(result["verdict"][0])
    save_window(browser, "report")


def version_page(browser: Browser, mlflow: str, result: dict[str, Any]) -> None:
    """A registered version, with the card that was made from its run."""
    name, version = result["registered"]["name"], result["registered"]["version"]
    browser.open(f"{mlflow}/#/models/{name}/versions/{version}?{IN_MLFLOW}")
    browser.see("Version " + version)
    save_window(browser, "mlflow-model")


def comparison_pages(browser: Browser, mlflow: str, result: dict[str, Any]) -> None:
    """The beginning of a comparison's page, and its run in MLflow with those of its trainings below it."""
    browser.open((Path(result["folder"]) / "comparison.html").as_uri())
    browser.see(result["chosen"])
    save_window(browser, "comparison")
    experiment = MlflowClient(mlflow).get_run(result["mlflow_run"]).info.experiment_id
    browser.open(f"{mlflow}{runs_page(MlflowClient(mlflow), experiment)}")
    browser.see("validation/accuracy", "cost/seconds")
    browser.run(EXPAND)
    browser.see("TF-IDF")
    save_window(browser, "comparison-mlflow")
    browser.open(f"{mlflow}/#/experiments/{experiment}/runs/{result['mlflow_run']}?{IN_MLFLOW}")
    browser.see("is chosen", "Child runs")
    save_window(browser, "comparison-run")


def deployments_page(browser: Browser, prefect: str) -> None:
    """What `make up` has registered."""
    browser.open(f"{prefect}/deployments")
    browser.see("classify-nightly", "classify-adhoc", "instruct-weekly", "score-hourly")
    browser.run(STILL)  # a dot beats for each deployment that is ready
    save_window(browser, "prefect-deployments", DEPLOYMENTS_HEIGHT)


def try_page(browser: Browser, address: str) -> None:
    """A text that was classified, with the words that weighed most."""
    browser.open(address)
    browser.run("document.querySelector('#text').value = arguments[0]", TRIED)
    browser.click("Classify")
    browser.see("Words that weighed most", "spam")
    browser.wait(lambda: browser.run("return document.querySelectorAll('#weights tr').length"), "weights")
    save_window(browser, "serve")


def main() -> None:
    if missing():
        sys.exit(f"error: {' and '.join(missing())} not found: install Chromium and its driver")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="finetune-screenshots-") as home:
        environment = {**os.environ, "FINETUNE_HOME": home, "PREFECT_API_URL": "", "MLFLOW_TRACKING_URI": ""}
        ports = [str(free_port()) for _ in range(3)]
        prefect, mlflow, serving = (f"http://127.0.0.1:{port}" for port in ports)
        with started(environment, "ready", "flows.up", "--prefect-port", ports[0], "--mlflow-port", ports[1]):
            environment |= {"PREFECT_API_URL": f"{prefect}/api", "MLFLOW_TRACKING_URI": mlflow}
            first = run(environment)
            second = run(environment, f"--training.learning_rate={OTHER_LEARNING_RATE}")
            run(environment)
            third = run(environment, flow="flows.instruct")
            compared = run(environment, COMPARISON, flow="flows.compare")
            curves(first)
            terminal(first)
            with chromium() as browser:
                prefect_page(browser, prefect, second)
                deployments_page(browser, prefect)
                mlflow_pages(browser, mlflow, [first["mlflow_run"], second["mlflow_run"]])
                report_page(browser, first)
                version_page(browser, mlflow, first)
                answers_page(browser, mlflow, third)
                comparison_pages(browser, mlflow, compared)
                with started(environment, serving, "flows.serve", "--port", ports[2]):
                    try_page(browser, serving)


if __name__ == "__main__":
    main()
