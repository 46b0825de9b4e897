"""What a person sees of two runs on Prefect's and MLflow's pages, in a real browser."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.chromium import Browser, chromium, missing
from tests.support.e2e import STEPS, Home, copy_of, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]

AROUND = ("track", "register", "promote", "report")  # tasks that are no steps
CURVES = ("train/accuracy", "train/loss", "validation/accuracy", "validation/loss")
# For each chart its title and how many curves it shows; each run's line is there twice, once as its shadow.
DRAWN = """
const cards = [...document.querySelectorAll("[data-testid='experiment-view-compare-runs-card']")]
const title = card => card.innerText.split("\\n")[0].trim()
const lines = card => [...card.querySelectorAll(".scatterlayer path.js-line")].filter(line => line.getAttribute("d"))
return cards.map(card => [title(card), lines(card).length / 2]).sort()
"""
IMAGES = "return [...document.images].filter(image => image.src.startsWith('data:')).map(image => image.naturalWidth)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as window:
        yield window


@dataclass
class Pages:
    """Two finished runs: the second one took all but the last steps from the cache."""

    printed: str  # the address of MLflow's pages that the program printed
    prefect: str
    mlflow: str
    first: Run
    second: Run
    result: Any  # what the second printed


@pytest.fixture(scope="module")
def pages(
    finished: tuple[Home, Any],
    retrained: tuple[Home, Any],
    prefect_api: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pages]:
    """A copy of a home with two runs, and its pages as `finetune ui` serves them."""
    home = copy_of(retrained[0], tmp_path_factory.mktemp("pages") / "home")
    result = retrained[1]
    tracking = MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    port = free_port()
    ui = subprocess.Popen(
        home.command("--mlflow-port", str(port), module="flows.ui"),
        cwd=home.project,
        env=home.env(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert ui.stdout is not None
        addresses = dict(ui.stdout.readline().split() for _ in range(2))
        yield Pages(
            printed=addresses["MLflow"],
            prefect=prefect_api.removesuffix("/api"),
            mlflow=f"http://127.0.0.1:{port}",
            first=tracking.get_run(finished[1]["mlflow_run"]),
            second=tracking.get_run(result["mlflow_run"]),
            result=result,
        )
    finally:
        ui.send_signal(signal.SIGINT)
        ui.communicate(timeout=60)


def artifact(pages: Pages, key: str) -> str:
    """The id of the second run's artifact in Prefect."""
    of_run = {"flow_runs": {"id": {"any_": [pages.result["flow_run"]]}}, "artifacts": {"key": {"any_": [key]}}}
    (found,) = httpx.post(f"{pages.prefect}/api/artifacts/filter", json=of_run).json()
    return str(found["id"])


def test_prefect_shows_the_name_and_each_step_as_cached_or_completed(browser: Browser, pages: Pages) -> None:
    browser.open(pages.second.data.tags["prefect.flow_run_url"])
    browser.see(pages.second.info.run_name, "finetune-classifier", "Completed")
    browser.wait(lambda: browser.run("return document.querySelectorAll('canvas').length"), "the graph of the steps")
    browser.click("Task Runs")
    shown = browser.see(*STEPS, *AROUND, "Cached").split("Task runs\n")[-1].splitlines()
    states = {}
    for step in [*STEPS, *AROUND]:
        (row,) = [row for row, line in enumerate(shown) if line == step]
        states[step] = next(line for line in shown[row:] if line in ("Cached", "Completed"))
    ran = ("finetune", "engine", "evaluate", *AROUND)
    assert states == {step: "Completed" if step in ran else "Cached" for step in states}


@pytest.mark.parametrize("pages_of", ["", "/v2"], ids=["first", "second"])
def test_prefect_shows_the_report_with_both_pictures(browser: Browser, pages: Pages, pages_of: str) -> None:
    browser.open(f"{pages.prefect}{pages_of}/artifacts/artifact/{artifact(pages, 'report')}")
    browser.see(*pages.result["verdict"], "This run in MLflow")
    browser.wait(lambda: len(browser.run(IMAGES)) == 2 and min(browser.run(IMAGES)) > 0, "two pictures")


def test_prefect_shows_the_metrics_and_the_link_to_mlflow(browser: Browser, pages: Pages) -> None:
    browser.open(f"{pages.prefect}/artifacts/artifact/{artifact(pages, 'metrics')}")
    browser.see("accuracy", "log_loss", "validation", str(round(pages.result["metrics"]["test/accuracy"], 4)))
    browser.open(f"{pages.prefect}/artifacts/artifact/{artifact(pages, 'mlflow-run')}")
    browser.see("This run in MLflow")
    links = browser.run("return [...document.links].map(link => link.href)")
    assert any(pages.second.info.run_id in link and "workflowType=machine_learning" in link for link in links)


def test_mlflow_lists_both_runs_under_their_names(browser: Browser, pages: Pages) -> None:
    assert pages.first.info.run_name != pages.second.info.run_name
    browser.open(pages.printed)
    browser.see("finetune-classifier", pages.first.info.run_name, pages.second.info.run_name)


def test_mlflows_list_shows_what_the_runs_came_to_on_a_first_visit(pages: Pages) -> None:
    with chromium() as fresh:
        fresh.open(pages.printed)
        fresh.see("test/accuracy", "test/over_baseline", "finetune.computed")
        shown = fresh.see(*(f"{run.data.metrics['test/accuracy']}"[:6] for run in (pages.first, pages.second)))
    assert "validation" not in shown  # a few columns, and not one for each metric


def test_mlflow_shows_a_runs_metrics_parameters_and_note(browser: Browser, pages: Pages) -> None:
    browser.open(f"{pages.mlflow}/#/experiments/1/runs/{pages.second.info.run_id}?workflowType=machine_learning")
    shown = browser.see("test/accuracy", "validation/loss", "training.learning_rate", "This run in Prefect")
    assert pages.second.info.run_name in shown
    assert "classify.py" in shown
    assert all(sentence in shown for sentence in pages.result["verdict"])
    links = browser.run("return [...document.links].map(link => link.href)")
    assert pages.second.data.tags["prefect.flow_run_url"] in links


@pytest.mark.parametrize("runs", [1, 2], ids=["one run", "two runs"])
def test_mlflow_draws_the_curves_of(browser: Browser, pages: Pages, runs: int) -> None:
    page = f"runs/{pages.second.info.run_id}/model-metrics?" if runs == 1 else "runs?compareRunsMode=CHART&"
    browser.open(f"{pages.mlflow}/#/experiments/1/{page}workflowType=machine_learning")
    browser.type("Search metric charts", "^(train|validation)/(loss|accuracy)$")
    titles = [name.rpartition("/")[2] if runs == 1 else name for name in CURVES]  # a run's charts stand in groups
    drawn = sorted([title, runs] for title in titles)
    browser.wait(lambda: browser.run(DRAWN) == drawn, f"the charts {drawn}")
    assert pages.second.info.run_name in browser.text()


def test_mlflow_shows_the_registered_model_with_champion_and_challenger(browser: Browser, pages: Pages) -> None:
    browser.open(f"{pages.mlflow}/#/models/e2e")
    shown = browser.see("Version 1", "Version 2", "@ champion", "@ challenger", "of 80 test messages get th")
    second, first = shown[shown.index("Version 2") :].split("Version 1")
    assert "@ challenger" in second
    assert "@ champion" in first
    browser.click("Description")
    browser.see("Classifies texts as ham or spam.")


def test_these_pages_ask_this_machine_alone(browser: Browser, pages: Pages) -> None:
    browser.hosts()
    for page in (
        f"{pages.prefect}/runs/flow-run/{pages.result['flow_run']}",
        f"{pages.mlflow}/#/experiments/1/runs?workflowType=machine_learning",
    ):
        browser.open(page)
        browser.see(pages.second.info.run_name)
    assert browser.hosts() == {"127.0.0.1"}
