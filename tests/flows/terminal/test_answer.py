"""`finetune answer`: its arguments, and what it prints."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import tasks.use.predict
from flows.terminal.exits import exit_status_of
from flows.terminal.predict import answer_command
from lib.errors import FinetuneError
from lib.inference.answerer import Question
from lib.serving.follower import InputError
from lib.text.turns import Turn
from tests.support.said import after_the_first_line


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Question], str | None, str | None]]:
    """What `answer` was asked; it answers with the length of the instruction, in two lines."""
    calls = []

    def answer(questions: list[Question], *, name: str | None, run: str | None, tell: Any) -> list[str]:
        calls.append((list(questions), name, run))
        return [f"{len(instruction)}\n£" for instruction, *_ in questions]

    monkeypatch.setattr(tasks.use.predict, "answer", answer)
    return calls


def test_one_instruction_gives_its_response(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_command(["Say it.", "--input", "hi"]) == 0
    assert asked == [([("Say it.", "hi", ())], None, None)]
    assert capsys.readouterr().out == "7\n£\n"


def test_what_was_said_before_is_read_from_a_file(asked: list[Any], tmp_path: Path) -> None:
    said = [{"role": "system", "content": "Be brief."}]
    (tmp_path / "said.json").write_text(json.dumps(said), encoding="utf-8")
    assert answer_command(["Say it.", "--earlier", f"{tmp_path / 'said.json'}"]) == 0
    assert asked == [([("Say it.", "", (Turn("system", "Be brief."),))], None, None)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ('{"role": "user"}', 'must be a list of objects like {"role": "user", "content": "…"}'),
        ('[{"role": "user"}]', "must be a list of objects like"),
        ('[{"role": "user", "content": "a"}]', "cannot stand before a question: the last turn is the user's"),
    ],
)
def test_what_cannot_have_been_said_before_is_refused(
    content: str | None, sentence: str, asked: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "said.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(FinetuneError, match=f"^--earlier {re.escape(str(file))} {re.escape(sentence)}"):
        answer_command(["Say it.", "--earlier", str(file)])
    assert asked == []


def test_several_responses_stand_below_their_instructions(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_command(["Say it.", "Why?", "--name", "mine"]) == 0
    assert asked == [([("Say it.", "", ()), ("Why?", "", ())], "mine", None)]
    assert capsys.readouterr().out == "> Say it.\n7\n£\n\n> Why?\n4\n£\n\n"


def test_json_is_an_object_a_line(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_command(["Say it.", "Why?", "--input", "hi", "--run", "abc", "--json"]) == 0
    assert asked == [([("Say it.", "hi", ()), ("Why?", "hi", ())], None, "abc")]
    out = capsys.readouterr().out
    assert [json.loads(line) for line in out.splitlines()] == [
        {"instruction": "Say it.", "input": "hi", "response": "7\n£"},
        {"instruction": "Why?", "input": "hi", "response": "4\n£"},
    ]
    assert "£" in out


def test_lines_are_read_from_standard_input(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n two \nthree"))
    assert answer_command(["-"]) == 0
    assert asked == [([("one", "", ()), (" two ", "", ()), ("three", "", ())], None, None)]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "the following arguments are required: INSTRUCTION; --help shows what there is"),
        (["hi", "--name", "a", "--run", "b"], "argument --run: not allowed with argument --name"),
        (["-"], "standard input is empty: write one text a line"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    argv: list[str], sentence: str, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(FinetuneError, match=sentence):
        answer_command(argv)
    assert asked == []


def test_what_the_model_refuses_is_told_in_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(questions: list[Question], **choice: str | None) -> list[str]:
        raise InputError.invalid_parameter_value("the instruction of question 1 is empty")

    monkeypatch.setattr(tasks.use.predict, "answer", refuse)
    assert exit_status_of(lambda: answer_command([""]), kept="nothing") == 2
    assert after_the_first_line(capsys.readouterr().err) == "error: the instruction of question 1 is empty\n"
