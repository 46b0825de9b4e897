"""The second flow as a user runs it: real servers, a judge behind Ollama's protocol on loopback, and without one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lib.data.entries.files import load_entries
from lib.data.entries.reading import entries_in_words
from lib.data.samples.entries import FILE as SAMPLE
from lib.data.tables import ANSWERS
from lib.files.jsonfile import load_json
from lib.text.prompts import STYLES
from lib.training.history import read_history
from tests.support.cases import case
from tests.support.e2e import PROJECT, Home, copy_of, evaluations_told, free_port, told_of
from tests.support.forked import run_forked
from tests.support.killed import Moment
from tests.support.ollama_server import Chat, OllamaServer
from tests.support.said import after_the_first_line

pytestmark = pytest.mark.e2e

ENTRIES = 40
STEPS = {
    "download": ["data/source", "source.json"],
    "entries": ["entries.parquet", "left_out.parquet", "profile.json"],
    "split_entries": ["split.json", "test.parquet", "train.parquet", "validation.parquet"],
    "tokenizer": ["network.json", "tokenizer.json", "tokenizer_config.json"],
    "tokenize_entries": ["long_entries.parquet", "test.parquet", "tokens.json", "train.parquet", "validation.parquet"],
    "backbone": ["backbone.json", "config.json", "model.safetensors", "sanity.txt"],
    "finetune_instructions": [
        "config.json",
        "cost.json",
        "history.parquet",
        "inference.json",
        "model.safetensors",
        "recipe.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    ],
    "respond": ["answers.parquet", "instruction-data-with-response.json"],
    "evaluate_answers": ["figures/loss.pdf", "figures/loss.png", "measured.parquet", "metrics.json"],
    "judge": ["summary.json", "verdicts.parquet"],
}
QUICK = [
    "--prompt.style=phi3",
    "--model.size=tiny",
    "--model.weights=scratch",
    "--training.epochs=1",
    "--training.learning_rate=0.003",
    "--training.evaluate_every=3",
    "--training.evaluate_batches=1",
    "--respond.max_new_tokens=8",
    "--judge.anchors=1",
    "--registry.name=follower",
]


@dataclass(frozen=True)
class Instructing:
    """A home in which the second flow runs, over a small file of its own."""

    home: Home
    data: Path

    def arguments(self, *more: str, command: Sequence[str] = ()) -> list[str]:
        recipe = self.data.with_name("quick.yaml")
        return [*command, "--recipe", str(recipe), f"--data.url={self.data}", *QUICK, *more]

    def call(self, *more: str, command: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return self.home.call(*self.arguments("--json", *more, command=command), module="flows.instruct")

    def run(self, *more: str) -> Any:
        done = self.call(*more)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def copy(self, folder: Path, **environment: str) -> Instructing:
        home = copy_of(self.home, folder)
        return Instructing(replace(home, environment={**home.environment, **environment}), self.data)

    def artifact(self, step: str) -> Path:
        (folder,) = (self.home.folder / "store" / step).glob("[!.]*")
        return folder

    def mlflow(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.home.folder / 'mlflow.db'}")

    def mlflow_run(self, result: Any) -> Run:
        return self.mlflow().get_run(result["mlflow_run"])

    def files(self, result: Any, folder: str | None = None) -> list[str]:
        return sorted(file.path for file in self.mlflow().list_artifacts(result["mlflow_run"], folder))


def strict(chat: Chat) -> str:
    """Full marks for what is in the question word by word as the reference, none for an empty answer, else 40."""
    found = re.search(
        r"correct output `(.*?)`, score the model response `(.*?)` on a scale", chat.contents[0], re.DOTALL
    )
    assert found
    reference, response = found.groups()
    return "100" if response == reference else "0" if not response else "40"


@pytest.fixture(scope="module")
def judge() -> Iterator[OllamaServer]:
    with OllamaServer(strict) as server:
        yield server


def states(result: Any) -> dict[str, str]:
    return {step["step"]: step["state"] for step in result["steps"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Instructing:
    folder = tmp_path_factory.mktemp("instruct")
    data = folder / "entries.json"
    data.write_text(json.dumps(json.loads(SAMPLE.read_text(encoding="utf-8"))[:ENTRIES]), encoding="utf-8")
    (folder / "quick.yaml").write_text("name: quick\ndata: {source: file}\n", encoding="utf-8")
    return Instructing(Home(folder / "home", data, {"PREFECT_API_URL": prefect_api}), data)


def judged_by(server: OllamaServer) -> list[str]:
    return ["--judge.provider=ollama", f"--judge.url={server.url('')}"]


@pytest.fixture(scope="module")
def finished_run(place: Instructing, judge: OllamaServer) -> Any:
    """What a first run with a judge printed."""
    return place.run(*judged_by(judge))


def test_a_run_leaves_exactly_these_files(place: Instructing, finished_run: Any) -> None:
    assert states(finished_run) == dict.fromkeys(STEPS, "ran") | {"track": "ran", "register": "ran"}
    found = {
        step: sorted(
            path.relative_to(place.artifact(step)).as_posix()
            for path in place.artifact(step).rglob("*")
            if path.is_file() and path.name != "manifest.json"
        )
        for step in STEPS
    }
    assert found == STEPS


def test_answers_stand_beside_their_entries_also_in_the_published_form(place: Instructing, finished_run: Any) -> None:
    test = pd.read_parquet(place.artifact("split_entries") / "test.parquet")
    answers = pd.read_parquet(place.artifact("respond") / "answers.parquet")
    assert list(answers.columns) == ["id", "instruction", "input", "output", "response", "tokens", "stopped"]
    assert answers[list(test.columns)].equals(test)
    published = json.loads((place.artifact("respond") / "instruction-data-with-response.json").read_text())
    assert [list(entry) for entry in published] == [["instruction", "input", "output", "model_response"]] * len(test)
    assert [entry["model_response"] for entry in published] == answers["response"].tolist()
    assert len(test) == int(0.1 * ENTRIES)


def test_the_style_is_saved_with_the_model(place: Instructing, finished_run: Any) -> None:
    saved = json.loads((place.artifact("finetune_instructions") / "inference.json").read_text())
    assert saved["prompt"] == {"style": "phi3", **vars(STYLES["phi3"])}


def test_the_mlflow_run_has_curves_figures_tables_and_the_model(place: Instructing, finished_run: Any) -> None:
    run = place.mlflow_run(finished_run)
    assert run.info.status == "FINISHED"
    curves = {"train/loss", "validation/loss", "epoch", "examples_seen", "tokens_seen", "learning_rate", "seconds"}
    compared = {"test/loss", "test/chrf", "test/exact_match", "judge/mean", "judge/mean_low", "judge/mean_high"}
    assert set(run.data.metrics) == curves | compared
    assert compared | {"test/perplexity", "test/stopped", "judge/anchor_gap"} <= set(finished_run["metrics"])
    assert {name: run.data.metrics[name] for name in compared} == {
        name: finished_run["metrics"][name] for name in compared
    }
    assert run.data.params["prompt.style"] == "phi3"
    assert {f"artifact.{step}" for step in STEPS} <= set(run.data.tags)
    assert run.inputs is not None
    assert [dataset.dataset.name for dataset in run.inputs.dataset_inputs] == [
        f"file-{name}" for name in ("train", "validation", "test")
    ]
    assert place.files(finished_run) == [
        "all_metrics.json",
        "answers.json",
        "backbone.json",
        "figures",
        "instruction-data-with-response.json",
        "judge",
        "metrics.json",
        "profile.json",
        "recipe.yaml",
        "samples.json",
        "sanity.txt",
        "split.json",
        "tokens.json",
        "warnings.json",
    ]
    assert place.files(finished_run, "judge") == ["judge/anchors.json", "judge/answers.json", "judge/summary.json"]


def test_the_tables_in_mlflow_have_every_answer_with_its_score(place: Instructing, finished_run: Any) -> None:
    client = place.mlflow()
    folder = place.data.parent / "downloaded"
    folder.mkdir(exist_ok=True)
    file = client.download_artifacts(finished_run["mlflow_run"], "judge/answers.json", str(folder))
    table = json.loads(Path(file).read_text(encoding="utf-8"))
    rows = pd.DataFrame(table["data"], columns=table["columns"])
    answers = pd.read_parquet(place.artifact("respond") / "answers.parquet")
    assert rows["response"].tolist() == answers["response"].tolist()
    assert rows["reference"].tolist() == answers["output"].tolist()
    expected = [0 if not response else 40 for response in answers["response"]]
    assert rows["score"].tolist() == expected
    assert finished_run["metrics"]["judge/mean"] == pytest.approx(sum(expected) / len(expected))
    assert finished_run["metrics"]["judge/anchor_reference"] == 100


def test_prefects_page_has_the_metrics_the_answers_and_the_report(
    place: Instructing, finished_run: Any, prefect_api: str
) -> None:
    wanted = {"artifacts": {"flow_run_id": {"any_": [finished_run["flow_run"]]}}}
    found = {each["key"]: each for each in httpx.post(f"{prefect_api}/artifacts/filter", json=wanted).json()}
    assert {"metrics", "answers", "report", "mlflow-run", "judge", "finetune-instructions"} <= set(found)
    assert found["finetune-instructions"]["data"] == 100
    assert "After epoch 1:" in found["report"]["data"]
    history = read_history(place.artifact("finetune_instructions") / "history.parquet")
    assert evaluations_told(prefect_api, finished_run) == told_of(history)
    assert "data:image/png;base64," in found["report"]["data"]


def test_the_same_run_again_reuses_every_step_and_asks_no_judge(
    place: Instructing, finished_run: Any, judge: OllamaServer, tmp_path: Path
) -> None:
    home = place.copy(tmp_path / "home", PYTHONPROFILEIMPORTTIME="1")
    asked = len(judge.chats)
    done = home.call(*judged_by(judge))
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert states(result) == dict.fromkeys(STEPS, "cached") | {"track": "ran", "register": "cached"}
    assert result["metrics"] == finished_run["metrics"]
    assert len(judge.chats) == asked
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "mlflow" in imported  # the list is that of the imports
    assert not imported & {"torch", "sklearn", "matplotlib", "sacrebleu", "ollama", "accelerate"}
    assert home.mlflow_run(result).data.tags["finetune.source_run"] == finished_run["mlflow_run"]


def test_explain_names_the_field_and_stops_where_the_change_does(
    place: Instructing, finished_run: Any, judge: OllamaServer
) -> None:
    def explained(*more: str) -> dict[str, tuple[str, list[str]]]:
        done = place.call("--explain", *judged_by(judge), *more)
        verdicts = json.loads(done.stdout)["steps"]
        return {verdict["step"]: (verdict["would"], verdict["reasons"]) for verdict in verdicts}

    assert {would for would, _ in explained().values()} == {"be reused"}
    warmer = explained("--respond.temperature=0.5")
    assert warmer["finetune_instructions"][0] == "be reused"
    assert warmer["respond"] == ("run", ["respond.temperature changed 0.0 -> 0.5"])
    assert warmer["judge"][0] == "depend"


def test_without_its_server_only_the_judge_fails_and_it_can_be_asked_later(
    place: Instructing, finished_run: Any, tmp_path: Path
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    home = place.copy(tmp_path / "home")
    other = ["--judge.provider=ollama", f"--judge.url={away}", "--judge.seed=7", "--judge.retries=0"]
    done = home.call(*other)
    assert done.returncode == 2
    result = json.loads(done.stdout.splitlines()[-1])
    expected = dict.fromkeys(STEPS, "cached") | {"track": "ran", "register": "cached", "judge": "failed"}
    assert states(result) == expected
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert away in error
    assert error.endswith("`finetune instruct judge` with the same flags asks again")
    run = home.mlflow_run(result)
    assert run.info.status == "FINISHED"
    assert run.data.tags["finetune.judge"].startswith("failed: No judge's server answers")
    assert "judge/mean" not in run.data.metrics
    assert run.data.metrics["test/chrf"] == finished_run["metrics"]["test/chrf"]

    with OllamaServer(lambda chat: "70") as server:
        later = home.call(*other[2:], *judged_by(server), command=["judge"])
    assert later.returncode == 0, later.stderr
    again = home.call(*other[2:], *judged_by(server), command=["judge"])  # which asks nobody
    assert states(json.loads(again.stdout.splitlines()[-1])) == {"judge": "cached"}
    judged = json.loads(later.stdout.splitlines()[-1])
    assert judged["mlflow_run"] == result["mlflow_run"]
    assert states(judged) == {"judge": "ran"}
    run = home.mlflow_run(result)
    assert run.data.metrics["judge/mean"] == 70
    points = home.mlflow().get_metric_history(result["mlflow_run"], "judge/mean")
    (step,) = judged["steps"]
    made = json.loads((home.home.folder / "store" / "judge" / step["artifact"]["key"] / "manifest.json").read_text())
    at = datetime.fromisoformat(made["created"]).timestamp()
    assert [(point.value, point.timestamp) for point in points] == [(70, round(1000 * at))]
    assert run.data.tags["finetune.judge"] == "llama3"
    refused = home.call("--judge.seed=7", "--judge.model=gemma", *judged_by(server), command=["judge"])
    assert refused.returncode == 2
    assert "no run with these answers that waits for scores by gemma" in refused.stderr
    assert run.data.tags["finetune.judge.anchors"].startswith("broken")  # the same score for everything


def test_a_judge_of_answers_that_are_not_there_says_what_to_do(place: Instructing, finished_run: Any) -> None:
    away = ["--judge.provider=ollama", f"--judge.url=http://127.0.0.1:{free_port()}"]
    done = place.call(*away, "--training.seed=9", command=["judge"])
    assert done.returncode == 2
    assert after_the_first_line(done.stderr).startswith(
        "error: there are no answers of this recipe to judge (finetune_instructions, respond"
    )
    done = place.call(command=["judge"])
    assert after_the_first_line(done.stderr).startswith("error: judge.provider is 'off': say who judges")
    done = place.call(*away, "--explain", command=["judge"])
    assert (
        after_the_first_line(done.stderr) == "error: judge only asks the judge: leave --explain and --log-format out\n"
    )


def test_a_judge_that_fails_on_some_answers_keeps_the_other_verdicts(
    place: Instructing, finished_run: Any, tmp_path: Path
) -> None:
    """A summary of some answers would not be comparable, so the step fails; asked again, it asks about those alone."""
    home = place.copy(tmp_path / "home")
    response = pd.read_parquet(place.artifact("respond") / "answers.parquet")["output"][0]

    def speak(chat: Chat) -> Any:
        from tests.support.ollama_server import said

        return said({"error": "out of memory"}, status=500) if f"`{response}`, score" in chat.contents[0] else "50"

    settings = ["--judge.seed=11", "--judge.anchors=0", "--judge.retries=0"]
    with OllamaServer(speak) as failing:
        done = home.call(*settings, *judged_by(failing))
        asked = len(failing.chats)
    assert done.returncode == 2
    assert f"gave no verdict on 1 of {asked} answers" in done.stderr
    with OllamaServer(lambda chat: "50") as sound:
        result = home.run(*settings, *judged_by(sound))
        assert len(sound.chats) == 1
    assert result["metrics"]["judge/scored"] == asked


def test_the_champion_answers_as_it_did_in_the_run(place: Instructing, finished_run: Any) -> None:
    assert finished_run["registered"]["aliases"] == ["challenger", "champion"]
    first = pd.read_parquet(place.artifact("respond") / "answers.parquet").iloc[0]
    command = ["answer", first["instruction"], "--input", first["input"], "--json"]
    done = place.home.call(*command, module="flows.instruct")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["response"] == first["response"]


def test_kill_9_while_training_ends_with_the_same_bytes(
    place: Instructing, judge: OllamaServer, tmp_path: Path
) -> None:
    """The second attempt goes on from the checkpoint of the first."""
    fields = ["--training.checkpoint_every=2", "--training.epochs=2", "--training.seed=5"]
    whole, killed = place.copy(tmp_path / "whole"), place.copy(tmp_path / "killed")
    expected = whole.run(*fields)

    moment = Moment("lib.training.checkpoint:write_checkpoint", 1, "after")
    command = ["tests.support.killed", moment.json(), "flows.instruct", *killed.arguments("--json", *fields)]
    assert run_forked(command, folder=PROJECT, environment=killed.home.env()).returncode == -signal.SIGKILL
    done = killed.call(*fields)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])

    def digest(result: Any) -> str:
        (trained,) = [step for step in result["steps"] if step["step"] == "finetune_instructions"]
        return str(trained["artifact"]["digest"])

    assert digest(result) == digest(expected)
    assert "went on from a checkpoint after" in done.stderr


@pytest.mark.parametrize(
    ("file", "said", "tests"),
    [
        ("multiturn.jsonl", "60 (OpenAI messages, 60 of several turns)", 6),
        ("sharegpt.json", "120 (ShareGPT conversations)", 12),
    ],
)
def test_conversations_of_other_people_run_to_the_end(
    place: Instructing, finished_run: Any, file: str, said: str, tests: int, tmp_path: Path
) -> None:
    home = place.copy(tmp_path / "home").home
    data = ["--data.source=file", f"--data.url={case('36-chat-formats', file)}"]
    quick = ["--training.epochs=1", "--respond.max_new_tokens=8", "--registry.name=talks"]
    done = home.call("--recipe", "quickstart", *data, *quick, "--json", module="flows.instruct")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    made = {step["step"]: Path(step["artifact"]["folder"]) for step in result["steps"] if step["artifact"]}
    assert entries_in_words(load_json(made["entries"] / "profile.json")) == said
    answers = load_entries(made["respond"] / "answers.parquet", ANSWERS)
    assert len(answers) == tests
    several = "of several turns" in said
    assert ("earlier" in answers) == several
    assert ("have no words for several turns" in done.stderr) == several
    first = answers.iloc[0]
    asked = ["answer", first["instruction"], "--name", "talks", "--json"]
    if several:
        (tmp_path / "said.json").write_text(json.dumps([turn._asdict() for turn in first["earlier"]]))
        asked += ["--earlier", str(tmp_path / "said.json")]
    done = home.call(*asked, module="flows.instruct")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["response"] == first["response"]
