"""`finetune answer`: its arguments, and what it prints."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

import tasks.use.predict
from flows.terminal.exits import exit_status_of
from flows.terminal.predict import answer_command
from lib.errors import FinetuneError
from lib.serving.follower import InputError
from tests.support.said import after_the_first_line


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[tuple[str, str]], str | None, str | None]]:
    """What `answer` was asked; it answers with the length of the instruction, in two lines."""
    calls = []

    def answer(questions: list[tuple[str, str]], *, name: str | None, run: str | None, tell: Any) -> list[str]:
        calls.append((list(questions), name, run))
        return [f"{len(instruction)}\n£" for instruction, _ in questions]

    monkeypatch.setattr(tasks.use.predict, "answer", answer)
    return calls


def test_one_instruction_gives_its_response(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_command(["Say it.", "--input", "hi"]) == 0
    assert asked == [([("Say it.", "hi")], None, None)]
    assert capsys.readouterr().out == "7\n£\n"


def test_several_responses_stand_below_their_instructions(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_command(["Say it.", "Why?", "--name", "mine"]) == 0
    assert asked == [([("Say it.", ""), ("Why?", "")], "mine", None)]
    assert capsys.readouterr().out == "> Say it.\n7\n£\n\n> Why?\n4\n£\n\n"


def test_json_is_an_object_a_line(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_command(["Say it.", "Why?", "--input", "hi", "--run", "abc", "--json"]) == 0
    assert asked == [([("Say it.", "hi"), ("Why?", "hi")], None, "abc")]
    out = capsys.readouterr().out
    assert [json.loads(line) for line in out.splitlines()] == [
        {"instruction": "Say it.", "input": "hi", "response": "7\n£"},
        {"instruction": "Why?", "input": "hi", "response": "4\n£"},
    ]
    assert "£" in out


def test_lines_are_read_from_standard_input(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n two \nthree"))
    assert answer_command(["-"]) == 0
    assert asked == [([("one", ""), (" two ", ""), ("three", "")], None, None)]


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
    def refuse(questions: list[tuple[str, str]], **choice: str | None) -> list[str]:
        raise InputError.invalid_parameter_value("the instruction of question 1 is empty")

    monkeypatch.setattr(tasks.use.predict, "answer", refuse)
    assert exit_status_of(lambda: answer_command([""]), kept="nothing") == 2
    assert after_the_first_line(capsys.readouterr().err) == "error: the instruction of question 1 is empty\n"
