"""`finetune serve`: a real server over a home's champion, asked over HTTP and looked at in a real browser."""

from __future__ import annotations

import json
import math
import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from benchmarks.soak import MOST_GROWTH, soak
from flows.http.app import LONGEST_EXPLAINED
from flows.http.batching import MOST
from flows.serve import main
from lib.inference.predictor import Predictor
from tests.support.chromium import Browser, chromium, missing
from tests.support.e2e import Home, copy_of, experiment_id, free_port, wait_until
from tests.support.said import after_the_first_line
from tests.support.serving import Server, started

pytestmark = pytest.mark.e2e

TEXTS = ["You are a winner, claim your free prize now", "see you at lunch"]
ATTACK = "<script>document.title = 'broken'</script> <img src=x onerror=\"document.title='broken'\"> claim your prize"


@pytest.fixture(scope="module")
def server(finished: tuple[Home, Any]) -> Iterator[Server]:
    with started(finished[0], "--max-bytes", "20000", "--max-texts", "500") as running:
        yield running


@pytest.fixture(scope="module")
def expected(finished: tuple[Home, Any]) -> Callable[[list[str]], list[tuple[str, float]]]:
    """The label and the probability of spam that the run's own classifier gives each text."""
    (finetune,) = [step for step in finished[1]["steps"] if step["step"] == "finetune"]
    predictor = Predictor.load(Path(finetune["artifact"]["folder"]), device="cpu")
    return lambda texts: [(each.label, each.probabilities["spam"]) for each in predictor.predict(texts)]


def test_it_is_ready_when_it_says_so_and_for_this_machine_alone(server: Server) -> None:
    assert server.said.startswith("e2e version 1 answers at http://127.0.0.1:")
    assert [server.http.get(path).status_code for path in ("/ping", "/health")] == [200, 200]
    assert server.http.get("/model").json() == {
        "name": "e2e", "version": "1", "calibrated": False, "positive_label": "spam", "threshold": 0.5,
        "engine": {"name": "torch", "precision": "float32"},
        "limits": {"body_bytes": 20_000, "texts": 500},
    }  # fmt: skip
    listening = [place for place in psutil.Process(server.process.pid).net_connections() if place.status == "LISTEN"]
    assert {place.laddr.ip for place in listening} == {"127.0.0.1"}


def test_the_answer_has_label_threshold_probabilities_and_the_version(
    server: Server, expected: Callable[[list[str]], list[tuple[str, float]]]
) -> None:
    for form in ({"inputs": TEXTS}, {"dataframe_records": [{"id": 1, "text": text} for text in TEXTS]}):
        answer = server.ask("/invocations", form).json()
        assert answer["model"] == {"name": "e2e", "version": "1", "calibrated": False}
        for row, (label, spam) in zip(answer["predictions"], expected(TEXTS), strict=True):
            assert list(row) == ["label", "threshold", "probability_ham", "probability_spam"]
            assert (row["label"], row["threshold"]) == (label, 0.5)
            assert row["probability_spam"] == pytest.approx(spam, abs=1e-6)


def test_batches_of_many_clients_at_once_are_answered_in_order(
    server: Server, expected: Callable[[list[str]], list[tuple[str, float]]]
) -> None:
    batches = [[f"{'prize ' * (number % 7)}{number} {client}" for number in range(MOST + 20)] for client in "abcd"]
    with ThreadPoolExecutor(len(batches)) as clients:
        answers = list(clients.map(lambda batch: server.rows(*batch), batches))
    for batch, rows in zip(batches, answers, strict=True):
        spam = [spam for _, spam in expected(batch)]
        assert [row["probability_spam"] for row in rows] == pytest.approx(spam, abs=1e-5)


def test_metrics_have_the_labels_and_the_drift_of_scores(server: Server) -> None:
    rows = server.rows(*(f"{number} prizes" for number in range(200)))
    read = server.http.get("/metrics").text
    for label in {row["label"] for row in rows}:
        assert f'finetune_labels_total{{label="{label}",version="1"}} ' in read
    assert 'finetune_score_psi{version="1"} ' in read  # by the profile of the registered version


@pytest.mark.parametrize(
    ("path", "request_", "status", "sentence"),
    [
        ("/invocations", {"content": b'{"inputs": ["a"'}, 400, "the body is not JSON"),
        ("/invocations", {"json": {"text": "a"}}, 400, "must have exactly one of inputs"),
        ("/invocations", {"json": {"dataframe_records": [{"body": "a"}]}}, 400, "row 1 of dataframe_records has no"),
        ("/invocations", {"json": {"inputs": ["a", ""]}}, 400, "text 2 is empty"),
        ("/invocations", {"json": {"inputs": [7]}}, 400, "text 1 is 7: give each text as a string"),
        ("/invocations", {"json": {"inputs": [None]}}, 400, "text 1 is null"),
        ("/invocations", {"json": {"inputs": ["a"] * 501}}, 413, "501 texts, and 500 are the most"),
        ("/invocations", {"json": {"inputs": ["a" * 20_000]}}, 413, "more than 20,000 bytes"),
        ("/invocations", {"content": iter([b'{"inputs": ["', b"a" * 20_000, b'"]}'])}, 413, "more than 20,000 bytes"),
        ("/invocations", {"content": b"text\na\n", "headers": {"Content-Type": "text/csv"}}, 415, "must be JSON"),
        ("/explain", {"json": {"inputs": ["a"]}}, 400, "must have 'text' and nothing else"),
        ("/explain", {"json": {"text": "a" * (LONGEST_EXPLAINED + 1)}}, 413, "the most that are explained"),
        ("/predict", {"json": {}}, 404, "POST /predict is nothing that is served here"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    server: Server, path: str, request_: dict[str, Any], status: int, sentence: str
) -> None:
    request = {"headers": {"Content-Type": "application/json"}, **request_}
    answer = server.http.post(path, **request)
    assert answer.status_code == status
    assert set(answer.json()) == {"error_code", "message"}
    assert sentence in answer.json()["message"]
    assert "\n" not in answer.json()["message"]
    assert len(server.rows(*TEXTS)) == 2  # and it goes on


def test_another_method_is_told_which_one_there_is(server: Server) -> None:
    answer = server.http.get("/invocations")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_what_was_accepted_is_answered_before_the_end(finished: tuple[Home, Any]) -> None:
    texts = [f"{number} prizes" for number in range(10_000)]
    with started(finished[0], "--access-log", quiet=False) as server, ThreadPoolExecutor(1) as clients:
        rows = clients.submit(server.rows, *texts)
        wait_until(
            lambda: "finetune_waiting_requests 1.0" in server.http.get("/metrics").text, seconds=60, what="a queue"
        )
        server.process.send_signal(signal.SIGTERM)
        assert len(rows.result()) == len(texts)
        server.process.wait(60)
    *_, line = map(json.loads, after_the_first_line(server.complained).splitlines())
    assert (line["event"], line["path"], line["status"], line["texts"]) == ("request", "/invocations", 200, 10_000)


def test_one_long_text_makes_the_others_of_its_batch_no_larger(
    finished: tuple[Home, Any], expected: Callable[[list[str]], list[tuple[str, float]]]
) -> None:
    texts = ["claim your prize\0", *["a"] * (MOST - 2), "prize " * 150_000]
    with started(finished[0]) as server:
        server.rows(*texts[:2])
        before = psutil.Process(server.process.pid).memory_info().rss
        rows = server.rows(*texts)
        peak = next(
            int(line.split()[1]) * 1024
            for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
    assert peak - before < 300_000_000  # the widest text that often, in NumPy's four bytes a character, is 461 MB
    spam = [spam for _, spam in expected(texts)]  # the NUL at the end of a text is a part of it
    assert [row["probability_spam"] for row in rows] == pytest.approx(spam, abs=1e-6)


def test_a_body_of_many_megabytes_is_refused_and_not_kept(server: Server) -> None:
    memory = psutil.Process(server.process.pid).memory_info
    before = memory().rss
    for content in (b"x" * 50_000_000, iter([b"x" * 1_000_000] * 50)):
        answer = server.http.post("/invocations", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
    assert memory().rss - before < 20_000_000


def test_words_weigh_what_the_log_odds_lose_without_them(server: Server) -> None:
    answer = server.ask("/explain", {"text": "claim your prize"}).json()
    assert answer["model"] == {"name": "e2e", "version": "1", "calibrated": False}
    whole, *without = server.rows("claim your prize", "your prize", "claim prize", "claim your")
    assert answer["prediction"] == pytest.approx(whole, abs=1e-6)
    share = f"probability_{whole['label']}"
    assert [word["word"] for word in answer["words"]] == ["claim", "your", "prize"]
    top, *rest = (math.log(row[share] / (1 - row[share])) for row in (whole, *without))
    assert [word["weight"] for word in answer["words"]] == pytest.approx([top - one for one in rest], abs=1e-4)
    assert answer["saturated"] is False
    assert server.ask("/explain", {"text": "prize"}).json()["words"] == []


@pytest.fixture(scope="module")
def two_versions(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose champion is version 1; version 2 has the same weights, and calls nearly everything spam."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("versions") / "home")
    result = home.run("--evaluation.threshold=0.001")
    assert {step["step"]: step["state"] for step in result["steps"]}["finetune"] == "cached"
    assert result["registered"]["version"] == "2"  # the same weights at another threshold are another classifier
    return home


def registry(home: Home) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")


def test_a_new_champion_is_served_without_a_restart_and_one_that_cannot_be_loaded_is_not(
    two_versions: Home, tmp_path: Path
) -> None:
    home = copy_of(two_versions, tmp_path / "home")
    tracking = registry(home)
    with started(home, "--name", "e2e", "--check", "0.1", ended_by=signal.SIGINT, quiet=False) as server:
        assert server.said.startswith("e2e version 1 answers")
        before = server.rows(*TEXTS)
        tracking.set_registered_model_alias("e2e", "champion", "2")
        wait_until(lambda: server.http.get("/model").json()["version"] == "2", seconds=60, what="version 2")
        answer = server.ask("/invocations", {"inputs": TEXTS}).json()
        assert answer["model"] == {"name": "e2e", "version": "2", "calibrated": False}
        assert 'finetune_champion{name="e2e",version="2"} 1.0' in server.http.get("/metrics").text
        empty = tracking.create_model_version("e2e", source=(tmp_path / "nothing").as_uri())
        tracking.set_registered_model_alias("e2e", "champion", empty.version)
        assert server.process.stderr is not None
        lines = [server.process.stderr.readline() for _ in range(3)]
        assert server.ask("/invocations", {"inputs": TEXTS}).json()["model"]["version"] == "2"
    _, switched, kept = lines
    switched = json.loads(switched)
    assert (switched["event"], switched["version"], switched["before"]) == ("new champion", "2", "1")
    assert json.loads(kept)["event"].startswith("version 2 goes on: the new champion, version 3, cannot be loaded (")
    assert server.complained == ""  # it said so once
    assert [row["threshold"] for row in answer["predictions"]] == [0.001, 0.001]
    assert [row["label"] for row in answer["predictions"]] == ["spam", "spam"]
    assert "ham" in [row["label"] for row in before]
    for old, new in zip(before, answer["predictions"], strict=True):
        assert new["probability_spam"] == pytest.approx(old["probability_spam"], abs=1e-6)


def test_no_request_fails_and_memory_stays_while_champions_change(two_versions: Home, tmp_path: Path) -> None:
    home = copy_of(two_versions, tmp_path / "home")
    tracking = registry(home)
    with started(home, "--name", "e2e", "--check", "0.1", quiet=False) as server:
        soaked = soak(
            str(server.http.base_url).rstrip("/"),
            server.process.pid,
            lambda version: tracking.set_registered_model_alias("e2e", "champion", version),
            seconds=6,
            texts=[*TEXTS, "claim " * 30],
        )
    lines = [json.loads(line) for line in after_the_first_line(server.complained).splitlines()]
    assert [(line["event"], line["version"]) for line in lines] == [("new champion", each) for each in "2121"]
    assert soaked.failed == []
    assert soaked.requests > 100
    assert soaked.growth < MOST_GROWTH


def test_the_threshold_of_a_champion_is_that_of_predict(two_versions: Home, tmp_path: Path) -> None:
    home = copy_of(two_versions, tmp_path / "home")
    registry(home).set_registered_model_alias("e2e", "champion", "2")
    said = json.loads(home.call("predict", "--json", TEXTS[0]).stdout)
    assert (said["label"], said["threshold"]) == ("spam", 0.001)


def test_versions_are_compared_side_by_side(two_versions: Home) -> None:
    arguments = ("--name", "e2e", "--share", "2=0.25", "--shadow", "2", "--check", "0")
    with started(two_versions, *arguments, quiet=False) as server:

        def answered_by(request: str) -> str:
            answer = server.http.post("/invocations", json={"inputs": TEXTS}, headers={"X-Request-ID": request})
            return str(answer.json()["model"]["version"])

        versions = [answered_by(f"request {number}".replace(" ", "-")) for number in range(40)]
        assert [answered_by(f"request-{number}") for number in range(40)] == versions
        agreed = 'finetune_shadow_texts_total{outcome="agreed",shadow="2",version="2"} '
        expected = f"{agreed}{2 * 2.0 * versions.count('2')}"
        wait_until(lambda: expected in server.http.get("/metrics").text, seconds=60, what="the shadow")
    assert 4 <= versions.count("2") <= 20
    lines = [json.loads(line) for line in after_the_first_line(server.complained).splitlines()]
    assert {line["event"] for line in lines} == {"shadow"}
    assert {(line["version"], line["agreed"] == line["texts"]) for line in lines} == {("1", False), ("2", True)}
    tracking = registry(two_versions)
    runs = {
        run.info.run_name: run
        for run in tracking.search_runs([experiment_id(tracking, "serving")])
        if run.info.status == "FINISHED"
    }
    assert set(runs) == {"e2e 1 (answers)", "e2e 2 (answers)", "e2e 2 (shadow)"}
    shadow = runs["e2e 2 (shadow)"].data.metrics
    assert shadow["serving/texts"] == 2 * 2 * 40
    assert shadow["serving/agreement"] == sum(line["agreed"] for line in lines) / (2 * 2 * 40)
    assert shadow["serving/share/spam"] == 1
    assert runs["e2e 1 (answers)"].data.metrics["serving/requests"] == 2 * versions.count("1")
    assert runs["e2e 1 (answers)"].data.metrics["serving/share/ham"] > 0


def test_a_version_that_is_not_there_is_one_sentence(two_versions: Home) -> None:
    done = two_versions.call("--port", str(free_port()), "--shadow", "9", module="flows.serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert after_the_first_line(done.stderr).startswith("error: there is no version 9 of 'e2e': ")


def test_a_taken_port_is_one_sentence(finished: tuple[Home, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = finished[0].call("--port", str(port), module="flows.serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"error: port {port} of 127.0.0.1 cannot be used \(Address .*--host\)\n", after_the_first_line(done.stderr)
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--host", "a" * 70),
            f"'{'a' * 70}' is no address of this machine (not a host's name): choose another --host",
        ),
        (("--max-bytes", "many"), "argument --max-bytes: 'many' is no amount: choose a whole number from 1; --help"),
        (("--check", "often"), "argument --check: 'often' is no number from 0; --help"),
        (("--share", "2=half"), "argument --share: '2=half' is no share: write VERSION=PART with a part up to 1"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(arguments) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capfd.readouterr()
    assert said.out == ""
    error = said.err if said.err.startswith("error: ") else after_the_first_line(said.err)
    assert error.startswith(f"error: {sentence}")
    assert len(error.splitlines()) == 1


def test_no_champion_is_one_sentence(finished: tuple[Home, Any], tmp_path: Path) -> None:
    done = replace(finished[0], folder=tmp_path / "empty").call("--port", str(free_port()), module="flows.serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert after_the_first_line(done.stderr) == "error: there is no classifier with a champion: fine-tune one first\n"


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if missing():
        pytest.skip(f"not installed: {', '.join(missing())}")
    with chromium() as window:
        yield window


def classify(browser: Browser, text: str) -> str:
    """Types a text, presses the button and waits for the words; all that the page shows then."""
    browser.run("document.querySelector('#text').value = arguments[0]", text)
    browser.click("Classify")
    browser.wait(lambda: browser.run("return !document.querySelector('#submit').disabled"), "an answer")
    return browser.text()


@pytest.mark.browser
def test_the_page_shows_label_probabilities_and_the_heaviest_words(browser: Browser, server: Server) -> None:
    browser.open(str(server.http.base_url))
    browser.hosts()
    browser.see("e2e, version 1")
    (row,) = server.rows(TEXTS[0])
    shown = classify(browser, TEXTS[0])
    assert browser.run("return document.querySelector('#label').textContent") == row["label"]
    for name in ("ham", "spam"):
        assert f"{name}\n{100 * row[f'probability_{name}']:.1f} %" in shown
    words = server.ask("/explain", {"text": TEXTS[0]}).json()["words"]
    heaviest = max(words, key=lambda word: abs(word["weight"]))
    first = browser.run("return [...document.querySelector('#weights tr').cells].map(cell => cell.textContent)")
    assert first[0] == heaviest["word"]
    assert first[1][1:] == f"{abs(heaviest['weight']):.2f}"
    assert browser.run("return document.querySelector('#marked').textContent.trim()") == TEXTS[0]
    assert browser.hosts() <= {"127.0.0.1"}


@pytest.mark.browser
def test_a_text_with_markup_is_shown_and_not_run(browser: Browser, server: Server) -> None:
    browser.open(str(server.http.base_url))
    browser.see("e2e, version 1")
    classify(browser, ATTACK)
    assert browser.run("return document.querySelector('#marked').textContent.trim()") == ATTACK
    assert browser.run("return document.querySelectorAll('main script, main img').length") == 0
    assert browser.run("return document.title") == "Try e2e"
    # Nor could a script of somebody else's run, if one got into the page.
    browser.run(
        "const s = document.createElement('script'); s.text = \"document.title='broken'\"; document.body.append(s)"
    )
    assert browser.run("return document.title") == "Try e2e"


@pytest.mark.browser
def test_the_page_says_what_is_wrong_and_goes_on(browser: Browser, server: Server) -> None:
    browser.open(str(server.http.base_url))
    browser.see("e2e, version 1")
    assert "text 1 is empty" in classify(browser, " ")
    assert not browser.run("return document.querySelector('#error').hidden")
    assert "nothing to compare it with" in classify(browser, "prize")
    assert browser.run("return document.querySelector('#error').hidden")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_in_light_and_dark_and_with_a_keyboard(
    browser: Browser, server: Server, scheme: str
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.open(str(server.http.base_url))
    browser.see("e2e, version 1")
    assert browser.run("return document.activeElement.id") == "text"
    classify(browser, TEXTS[0])
    for element in ("body", "#model", "button", "#note", "#rule", "summary", "mark", "thead th"):
        assert contrast(browser, element) >= 4.5, element
    dark = browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark == (scheme == "dark")


def contrast(browser: Browser, element: str) -> float:
    """How much a text stands out from what is behind it (WCAG 2.2, relative luminance), by the styles on the page."""
    colours = browser.run(
        """
        const blend = (over, under) => {
          const share = over[3] ?? 1
          return [0, 1, 2].map(part => share * over[part] + (1 - share) * under[part])
        }
        const numbers = colour => colour.match(/[\\d.]+/g).map(Number)
        let behind = []
        const shown = document.querySelector(arguments[0])
        for (let at = shown; at; at = at.parentElement) behind.unshift(numbers(getComputedStyle(at).backgroundColor))
        const under = behind.reduce((below, over) => blend(over, below), [255, 255, 255])
        return [under, blend(numbers(getComputedStyle(shown).color), under)]
        """,
        element,
    )

    def luminance(colour: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted(map(luminance, colours))
    return (bright + 0.05) / (dark + 0.05)
