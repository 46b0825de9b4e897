"""What a flow's command line understands, and what it says when it does not: mostly by that of `flows.classify`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import prefect
import pytest
from mlflow.exceptions import MlflowException

import tasks.use.predict
from flows import instruct
from flows.classify import PROGRAM
from flows.terminal.command_line import main
from flows.terminal.program import Program
from flows.use_cases.use_case import UseCase
from lib.errors import FinetuneError, ServiceError, SourceError
from lib.recipes import reading
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields
from lib.recipes.instruct import InstructRecipe
from tasks.engine.settings import changed_settings
from tasks.environment import home
from tasks.record.mlflow_run import client, reason_of
from tests.support.e2e import free_port
from tests.support.forked import run_forked
from tests.support.http_server import HttpServer, Reply
from tests.support.recipes import load_recipe
from tests.support.said import after_the_first_line

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[3]
RESULT: dict[str, Any] = {
    "recipe": "quickstart",
    "flow_run": "1",
    "mlflow_run": "2",
    "steps": [{"step": "download", "state": "cached", "seconds": 0.1, "artifact": None}],
    "metrics": {"test/accuracy": 0.5},
    "registered": None,
    "seconds": 1.5,
}


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own and a wide terminal, so that words are where they are looked for."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


class IdleFlow:
    """A flow that only keeps the recipes that it was called with."""

    def __init__(self) -> None:
        self.recipes: list[ClassifyRecipe] = []

    def __call__(self, use_case: UseCase, recipe: ClassifyRecipe) -> dict[str, Any]:
        self.recipes.append(recipe)
        return RESULT


@pytest.fixture
def server(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The session's Prefect server, named: what is tried here would only wait for a temporary one."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    with changed_settings(api={"url": prefect_api}):
        yield


@pytest.fixture
def flow(server: None) -> IdleFlow:
    return IdleFlow()


def never(*arguments: object, **options: object) -> Any:
    raise AssertionError("nothing must run")


IDLE = replace(PROGRAM, use_case=never)  # a mistake shows before anything runs


def classify(argv: Sequence[str], flow: Callable[[UseCase, ClassifyRecipe], dict[str, Any]]) -> int:
    """The exit status of `finetune classify` with another flow than its own."""
    return main(argv, replace(PROGRAM, run=flow))


def refused(capsys: pytest.CaptureFixture[str], *argv: str, program: Program[Any] = IDLE, begun: bool = False) -> str:
    """The one line on standard error with which the command line refuses; nothing runs.

    begun: the arguments are right, so another line says before what is about to happen.
    """
    assert main(argv, program) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error = after_the_first_line(said.err) if begun else said.err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removeprefix("error: ").rstrip("\n")


# -- flags ------------------------------------------------------------------------------------------------------


def test_without_arguments_the_quickstart_runs(flow: IdleFlow, capsys: pytest.CaptureFixture[str]) -> None:
    assert classify(["--json"], flow) == 0
    assert flow.recipes == [load_recipe("quickstart")]


@pytest.mark.parametrize(
    "argv",
    [
        ["--training.epochs", "3", "--name", "my run"],
        ["--training.epochs=3", "--name=my run"],
        ["--name", "another", "--name", "my run", "--training.epochs=3"],  # the last one counts
    ],
)
def test_flags_override_the_recipe(flow: IdleFlow, argv: list[str]) -> None:
    assert classify(["--recipe", "sms-tiny", *argv, "--json"], flow) == 0
    assert flow.recipes == [load_recipe("sms-tiny", {"training.epochs": "3", "name": "my run"})]


def test_the_recipe_may_come_last_and_be_a_file(flow: IdleFlow, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ndata: {source: sample}\n")
    assert classify(["--json", "--training.epochs", "3", f"--recipe={file}"], flow) == 0
    assert (flow.recipes[0].name, flow.recipes[0].training.epochs) == ("mine", 3)


@pytest.mark.parametrize(("value", "name"), [("--draft", "--draft"), ("a=b", "a=b"), ("-1", "-1"), ("[x]", "[x]")])
def test_a_value_may_look_like_something_else(flow: IdleFlow, value: str, name: str) -> None:
    assert classify([f"--name={value}", "--json"], flow) == 0
    assert flow.recipes[0].name == name


@pytest.mark.parametrize(
    "flags",
    [
        ["--data.files", "{train: a.csv, test: b.csv}"],
        ["--data.files={train: a.csv, test: b.csv}"],
        ["--data.files.train", "a.csv", "--data.files.test=b.csv"],
    ],
)
def test_a_group_of_fields_may_be_one_flag(flow: IdleFlow, flags: list[str]) -> None:
    assert classify(["--data.source=file", *flags, "--json"], flow) == 0
    assert flow.recipes[0].data.files.given() == {"train": ("a.csv",), "test": ("b.csv",)}


@pytest.mark.parametrize(("value", "files"), [("in/*.csv", ("in/*.csv",)), ("[a.csv, b.csv]", ("a.csv", "b.csv"))])
def test_files_need_no_names_of_splits(flow: IdleFlow, value: str, files: tuple[str, ...]) -> None:
    assert classify(["--data.source=file", "--data.files", value, "--json"], flow) == 0
    assert flow.recipes[0].data.files.given() == {"train": files}


REFUSED = [
    (["--trainig.epochs", "3"], "there is no flag --trainig.epochs: did you mean --training.epochs?"),
    (["--epochs=3"], "there is no flag --epochs: did you mean --training.epochs?"),
    (["--explan"], "there is no flag --explan: did you mean --explain?"),
    (["--jsn"], "there is no flag --jsn: did you mean --json?"),
    (["--bogus", "--help"], "there is no flag --bogus: --help lists all of them"),
    (
        ["--data.members", "a.csv"],
        "--data.members is a group of fields: name one of them, such as --data.members.train",
    ),
    (
        ["--data.files", "{dev: a.csv}"],
        "there is no flag --data.files.dev: did you mean --data.files.train, --data.files.validation or"
        " --data.files.test?",
    ),
    (
        ["--data.files.train=a.csv"],
        "recipe quickstart: data.files names files of your own, but data.source is 'sample': set it to 'file', or leave"
        " data.files out",
    ),
    (["--training", "3"], "--training is a group of fields: name one of them, such as --training.epochs"),
    (["--training.epochs", "many"], "--training.epochs is 'many', but must be a whole number of at least 1"),
    (["--training.epochs", "-3"], "--training.epochs is '-3', but must be a whole number of at least 1"),
    (["--training.epochs="], "--training.epochs is '', but must be a whole number of at least 1"),
    (
        ["--training.epochs"],
        "--training.epochs needs a value: write --training.epochs VALUE, or --training.epochs=VALUE if it begins"
        " with --",
    ),
    (["--name", "--json"], "--name needs a value: write --name VALUE, or --name=VALUE if it begins with --"),
    (["--name", "--split.seed", "3"], "--name needs a value: write --name VALUE, or --name=VALUE if it begins with --"),
    (["extra"], "'extra' on the command line belongs to no flag: write --FIELD VALUE, or see --help"),
    (["--name", "my", "run"], "'run' on the command line belongs to no flag: write --FIELD VALUE, or see --help"),
    (["-x"], "'-x' on the command line belongs to no flag: write --FIELD VALUE, or see --help"),
    (["--"], "there is no flag --: --help lists all of them"),
    (["--recipe"], "argument --recipe: expected one argument; --help shows what there is"),
    (["--json=3"], "argument --json: ignored explicit argument '3'; --help shows what there is"),
    (
        ["--recipe", "nope"],
        "there is no recipe 'nope': name one of book, decoder-small, encoder, gpt2-small, modernbert, quickstart,"
        " qwen3, sms-decoder, sms-encoder, sms-tiny, or give the path of a YAML file",
    ),
    (
        ["--recipe", "gpt2_small"],
        "there is no recipe 'gpt2_small': did you mean gpt2-small?",
    ),
    (
        ["--split.train", "0.9"],
        "recipe quickstart: split.train + split.validation + split.test is 1.2: the three fractions must sum to 1",
    ),
    (["predict"], "the following arguments are required: TEXT; --help shows what there is"),
    (
        ["predict", "hi", "--name", "a", "--run", "b"],
        "argument --run: not allowed with argument --name; --help shows what there is",
    ),
    (["predict", "hi", "--nam", "a"], "there is no flag --nam: did you mean --name?"),
]


@pytest.mark.parametrize(("argv", "sentence"), REFUSED, ids=[" ".join(argv) for argv, _ in REFUSED])
def test_a_mistake_is_one_sentence_and_nothing_runs(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *argv) == sentence


def test_what_a_flow_refuses_is_one_sentence_too(server: None, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(use_case: UseCase, recipe: ClassifyRecipe) -> dict[str, Any]:
        raise SourceError("there is no file x.csv: correct data.url")

    assert classify([], fail) == 2
    said = capsys.readouterr()
    assert (said.out, after_the_first_line(said.err)) == ("", "error: there is no file x.csv: correct data.url\n")


def test_what_mlflow_raises_in_the_middle_of_a_run_is_one_sentence(
    server: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(use_case: UseCase, recipe: ClassifyRecipe) -> dict[str, Any]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow.org")
        raise MlflowException("no space\nleft at http://me:secret@mlflow.org/api")

    assert classify([], fail) == 2
    assert after_the_first_line(capsys.readouterr().err) == (
        "error: MLflow at http://mlflow.org failed (no space left at http://mlflow.org/api): see that it works and run"
        " again, which goes on from what is in the store\n"
    )


def test_a_mistake_of_the_program_keeps_its_traceback(server: None) -> None:
    def fail(use_case: UseCase, recipe: ClassifyRecipe) -> dict[str, Any]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        classify([], fail)


def test_a_process_ends_with_status_2_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.classify", "--training.epohcs=3"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no flag --training.epohcs: did you mean --training.epochs?\n"


# -- what is printed --------------------------------------------------------------------------------------------


def help_of(capsys: pytest.CaptureFixture[str], *argv: str, program: Program[Any] = IDLE) -> str:
    with pytest.raises(SystemExit) as ended:
        main(argv, program)
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def test_help_shows_the_values_of_the_recipe_and_its_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, "-h", "--recipe", "book", "--training.epochs", "7")
    assert "passes over the training split [a whole number of at least 1; default: 5; in this recipe: 7]" in text
    assert '[none, csv, backslash or null; default: null; in this recipe: "csv"]' in text
    assert 'default: "auto"; in this recipe: "padded_last"]' in text
    assert 'default: "scratch"; in this recipe: "openai-community/gpt2"]' in text


def test_predict_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, "predict", "--help")
    assert "--run RUN" in text
    assert "--training.epochs" not in text


def test_json_is_one_object_in_the_last_line(flow: IdleFlow, capsys: pytest.CaptureFixture[str]) -> None:
    assert classify(["--json"], flow) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == RESULT
    assert said.err == f"finetune classify: recipe quickstart; everything lies in {home()}\n"


def test_explain_goes_through_the_real_steps_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--explain", "--json"], PROGRAM) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["recipe", "steps"]
    assert printed["recipe"] == "quickstart"
    verdicts = {verdict["step"]: verdict for verdict in printed["steps"]}
    assert verdicts["download"] == {"step": "download", "would": "run", "reasons": ["never made before"]}
    assert verdicts["messages"]["would"] == "run"
    assert not list((tmp_path / "home").glob("store/*/*"))


def test_explain_shows_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--explain"], PROGRAM) == 0
    assert "never made before" in capsys.readouterr().out


def test_a_step_that_failed_comes_last_and_the_rest_is_told(server: None, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "no judge answers at http://127.0.0.1:11434: start it, and run again"
    failed = {"step": "judge", "state": "failed", "seconds": 0.2, "artifact": None, "reason": reason}
    result = {**RESULT, "steps": [*RESULT["steps"], failed]}
    assert classify(["--json"], lambda use_case, recipe: result) == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == result
    assert after_the_first_line(said.err) == f"error: {reason}\n"


# -- another flow -----------------------------------------------------------------------------------------------


INSTRUCT = replace(instruct.PROGRAM, use_case=never)


def test_the_recipes_and_flags_are_those_of_the_flow(server: None) -> None:
    recipes: list[InstructRecipe] = []

    def run(use_case: UseCase, recipe: InstructRecipe) -> dict[str, Any]:
        recipes.append(recipe)
        return RESULT

    program = replace(instruct.PROGRAM, run=run)
    assert main(["--json"], program) == 0
    assert main(["--json", "--recipe", "book", "--judge.provider", "off", "--prompt.style=phi3"], program) == 0
    assert recipes == [
        reading.load_recipe("quickstart", folder="instruct", model=InstructRecipe),
        reading.load_recipe(
            "book", {"judge.provider": "off", "prompt.style": "phi3"}, folder="instruct", model=InstructRecipe
        ),
    ]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--balance.method", "none"], "there is no flag --balance.method: --help lists all of them"),
        (["--judge.modell", "x"], "there is no flag --judge.modell: did you mean --judge.model?"),
        (["--respond=3"], "--respond is a group of fields: name one of them, such as --respond.max_new_tokens"),
        (
            ["--recipe", "sms-tiny"],
            "there is no recipe 'sms-tiny': name one of book, gpt2-medium, gpt2-small, quickstart, smollm2",
        ),
        (["answer"], "the following arguments are required: INSTRUCTION; --help shows what there is"),
        (["judge", "--judge.modell", "x"], "there is no flag --judge.modell: did you mean --judge.model?"),
        (["predict", "hi"], "'predict' on the command line belongs to no flag: write --FIELD VALUE, or see --help"),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_flow(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *argv, program=INSTRUCT).startswith(sentence)


def test_a_command_gets_the_arguments_behind_its_name_and_gives_the_status() -> None:
    def count(argv: Sequence[str]) -> int:
        return 40 + len(argv)

    program = replace(INSTRUCT, commands={"count": count})
    assert main(["count", "--recipe", "x"], program) == 42


@pytest.mark.parametrize("program", [IDLE, INSTRUCT], ids=lambda program: program.name)
def test_help_describes_the_flow_its_fields_and_its_commands(
    program: Program[ClassifyRecipe] | Program[InstructRecipe], capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(help_of(capsys, "--help", program=program).split())
    assert text.startswith(f"usage: finetune {program.name} [--recipe NAME]")
    assert f"finetune {program.name} {' | '.join(program.commands)} ... {program.description} " in text
    assert f"a recipe's name in recipes/{program.name}, or a YAML file (default: quickstart)" in text
    for name, command in program.commands.items():
        first, *_ = str(command.__doc__).splitlines()
        assert f" {name} {' '.join(first.split())} " in text
    for field in recipe_fields(program.model):
        assert f"--{field.path} VALUE {field.description} [{field.kind}; default: {json.dumps(field.default)}" in text


def test_explain_goes_through_the_steps_of_the_flow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--explain", "--json"], instruct.PROGRAM) == 0
    steps = [verdict["step"] for verdict in json.loads(capsys.readouterr().out)["steps"]]
    assert steps == [
        *("download", "entries", "split_entries", "tokenizer", "tokenize_entries", "backbone"),
        *("finetune_instructions", "respond", "evaluate_answers", "judge"),
    ]


# -- predict ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str | None, str | None]]:
    """What `predict` was asked; it answers `spam` to all."""
    calls = []

    def answer(texts: list[str], *, name: str | None, run: str | None, tell: Any) -> list[dict[str, Any]]:
        calls.append((list(texts), name, run))
        return [{"label": "spam", "probability_ham": 0.25, "probability_spam": 0.75} for _ in texts]

    monkeypatch.setattr(tasks.use.predict, "predict", answer)
    return calls


def test_predict_prints_label_shares_and_text(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "You win £5", "Lunch?"], IDLE) == 0
    assert asked == [(["You win £5", "Lunch?"], None, None)]
    assert capsys.readouterr().out.splitlines() == [
        "spam\tham 25.0%, spam 75.0%\tYou win £5",
        "spam\tham 25.0%, spam 75.0%\tLunch?",
    ]


def test_predict_as_json_prints_an_object_for_each_text(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "£5", "--json", "--name", "mine"], IDLE) == 0
    assert asked == [(["£5"], "mine", None)]
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": "£5", "label": "spam", "probability_ham": 0.25, "probability_spam": 0.75}
    assert "£" in out


def test_predict_from_a_run(asked: list[Any]) -> None:
    assert main(["predict", "--run", "abc", "hi"], IDLE) == 0
    assert asked == [(["hi"], None, "abc")]


def test_predict_reads_lines_from_standard_input(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n two \nthree"))
    assert main(["predict", "-"], IDLE) == 0
    assert asked == [(["one", " two ", "three"], None, None)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", "standard input is empty: write one text a line"),
        (b"caf\xe9\n", "standard input is not UTF-8 text (invalid continuation byte): convert it first"),
    ],
)
def test_predict_refuses_unreadable_lines(
    given: bytes,
    sentence: str,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert refused(capsys, "predict", "-", begun=True) == sentence
    assert asked == []


# -- servers ----------------------------------------------------------------------------------------------------


def closed() -> str:
    """The address of a server that is not there."""
    return f"http://127.0.0.1:{free_port()}"


def refusal_of(call: Callable[[], object]) -> str:
    with pytest.raises(FinetuneError) as error:
        call()
    assert isinstance(error.value, ServiceError)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_mlflow_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = closed()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    sentence = (
        f"MLflow does not answer at {uri} ([Errno 111] Connection refused): start that server, or correct"
        " MLFLOW_TRACKING_URI, or unset it to use a local file"
    )
    assert refusal_of(client) == sentence
    assert refused(capsys, "predict", "hi", begun=True) == sentence


def test_an_mlflow_server_that_is_not_there_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer() as server:
        server.serve("/health", Reply(cut_after=0, body=b"OK"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(""))
        assert refusal_of(client).startswith(f"MLflow does not answer at {server.url('')} (")
        assert [request.path for request in server.requests] == ["/health"]


def test_a_server_that_is_not_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(""))
        assert "failed with error code" in refusal_of(client)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"experiments": 3}'])
def test_a_server_that_answers_nonsense_is_not_mlflow(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer() as server:
        server.serve("/health", Reply(b"OK"))
        server.serve("/api/2.0/mlflow/experiments/search", Reply(body))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url(""))
        assert refusal_of(client).startswith(f"MLflow does not answer at {server.url('')} (")


@pytest.mark.parametrize(
    "uri", ["127.0.0.1:5000", "foo://x", "postgresql://me:secret@127.0.0.1:1/mlflow", "mysql://127.0.0.1:1/x"]
)
def test_an_address_that_mlflow_cannot_use(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    sentence = refusal_of(client)
    assert sentence.startswith("MLflow does not answer at ")
    assert "secret" not in sentence
    assert len(sentence) < 500


def caught(*chain: BaseException) -> BaseException:
    """The last of these exceptions, each raised while the one before it was handled."""
    try:
        if len(chain) > 1:
            try:
                raise caught(*chain[:-1])
            except BaseException:
                raise chain[-1]  # noqa: B904 - MLflow does the same
        raise chain[0]
    except BaseException as error:
        return error


def test_the_reason_of_a_failure() -> None:
    refused_by_system = OSError(111, "Connection\nrefused")
    assert reason_of(caught(refused_by_system, ValueError("a"), RuntimeError("b"))) == (
        "[Errno 111] Connection refused"
    )
    assert reason_of(caught(KeyError("detail"), MlflowException("said"))) == "said"
    direct = MlflowException("failed")
    direct.__cause__ = ValueError("not JSON")
    assert reason_of(direct) == "not JSON"
    assert reason_of(RuntimeError("unheard of")) == "RuntimeError: unheard of"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(ValueError("x" * 5000))) < 250


def test_a_prefect_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = f"{closed()}/api"
    monkeypatch.setenv("PREFECT_API_URL", api)
    assert refused(capsys, "--recipe", "quickstart", begun=True) == (
        f"Prefect does not answer at {api} ([Errno 111] Connection refused): start that server, or correct"
        " PREFECT_API_URL, or unset it to run without a server"
    )


def test_a_whole_run_without_its_prefect_server_ends_without_a_traceback() -> None:
    environment = {**os.environ, "PREFECT_API_URL": f"{closed()}/api"}
    done = run_forked(["flows.classify", "--recipe", "quickstart"], folder=PROJECT, environment=environment)
    assert (done.returncode, done.stdout) == (2, "")
    error = after_the_first_line(done.stderr)
    assert error.startswith("error: Prefect does not answer at http://127.0.0.1:")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=404), "404 Not Found"),
        (Reply(status=503), "503 Service Unavailable"),
        (Reply(status=401, body=b'"Unauthorized"'), "401 Unauthorized"),
        (Reply(b"<html>the pages, not the API</html>"), "Expecting value"),
        (Reply(b'"2.20.3"'), "Found incompatible versions"),
    ],
)
def test_a_server_that_is_not_this_prefect(
    reply: Reply, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HttpServer() as server:
        server.serve("/api/admin/version", reply)
        monkeypatch.setenv("PREFECT_API_URL", server.url("/api"))
        sentence = refused(capsys, begun=True)
        assert len(server.requests) == 1
    assert sentence.startswith(f"Prefect does not answer at {server.url('/api')} (")
    assert reason in sentence


def test_an_address_that_prefect_cannot_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "127.0.0.1:4200/api")
    assert "missing an 'http://' or 'https://' protocol" in refused(capsys, begun=True)


def test_a_prefect_server_that_answers_lets_the_flow_run(flow: IdleFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer() as server:
        server.serve("/api/admin/version", Reply(json.dumps(prefect.__version__).encode()))
        monkeypatch.setenv("PREFECT_API_URL", server.url("/api"))
        assert classify(["--json"], flow) == 0
    assert len(flow.recipes) == 1


def test_explaining_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{closed()}/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed())
    assert main(["--explain", "--json"], PROGRAM) == 0
