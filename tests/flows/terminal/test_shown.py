"""What comes from data, names and servers is shown on a terminal, and never obeyed by it."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from flows.terminal import predict
from flows.terminal.drawing import console
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.say import say, say_json
from lib.errors import MessagesError
from lib.visible import visible
from tasks.engine.log import run_log

TITLE = "\x1b]0;owned\x07"  # sets a terminal's title
CLEAR = "\x9b2J"  # clears it, in one character less than ESC [
BACKWARDS = "\u202egnp.exe"
HALF = "\ud83d"
HOSTILE = f"win\r{TITLE}{CLEAR}{BACKWARDS}{HALF}\x00\u2028\x7f"
SHOWN = "win\\u000d\\u001b]0;owned\\u0007\\u009b2J\\u202egnp.exe\\ud83d\\u0000\\u2028\\u007f"


def obeyed(said: str) -> list[str]:
    """What a terminal would do something about."""
    return [character for character in said if character != "\n" and visible(character, lines=True) != character]


def test_what_is_visible() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("a\tb\nc") == "a\\u0009b\\u000ac"
    assert visible("a\tb\nc", lines=True) == "a\tb\nc"
    assert visible(plain := "Größe 你好 👩‍👩‍👧 \u200dא \\u001b £") == plain


def test_every_way_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise MessagesError(f"{HOSTILE} is no data")

    announce(HOSTILE)
    assert exit_status_of(fail) == 2
    say(HOSTILE)
    say_json({"text": HOSTILE, "label": "ü"})
    out, err = capsys.readouterr()
    assert err == f"{SHOWN}\nerror: {SHOWN} is no data\n"
    first, second = out.splitlines()
    assert first == SHOWN
    assert '"ü"' in second
    assert json.loads(second) == {"text": HOSTILE, "label": "ü"}


def test_tables_and_their_colours() -> None:
    stream = io.StringIO()
    drawn = console(file=stream, force_terminal=True, width=200)
    table = Table(f"[b]{HOSTILE}[/b]", title=HOSTILE)
    table.add_row(Text(HOSTILE, style="red"))
    drawn.print(table)
    drawn.print(HOSTILE, markup=False, soft_wrap=True)
    written = stream.getvalue()
    assert TITLE not in written
    assert written.count("owned\\u009b2J\\u202egnp.exe\\ud83d\\u0000") == 4
    assert "\x1b[31m" in written  # its own


def test_predictions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def labels(texts: list[str], **_: Any) -> list[dict[str, Any]]:
        return [{"label": f"ham{TITLE}", f"probability_ham{TITLE}": 1.0} for _ in texts]

    monkeypatch.setattr("tasks.use.predict.predict", labels)
    assert predict.predict_command([HOSTILE.replace(HALF, ""), f"--name={TITLE}"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\t") == 2
    assert obeyed(out.replace("\t", "")) == obeyed(err) == []
    assert predict.predict_command(["--json", CLEAR]) == 0
    assert obeyed(capsys.readouterr().out) == []


def test_answers_keep_their_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tasks.use.predict.answer", lambda questions, **_: [f"1.\ta\n2.{CLEAR}" for _ in questions])
    assert predict.answer_command([TITLE]) == 0
    assert capsys.readouterr().out == "1.\ta\n2.\\u009b2J\n"
    assert predict.answer_command([TITLE, "b"]) == 0
    assert obeyed(capsys.readouterr().out.replace("\t", "")) == []


def test_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run_log().warning("the label %s is rare", HOSTILE)
    assert caplog.messages[-1] == f"the label {SHOWN} is rare"


def test_no_door_prints_by_itself() -> None:
    """Everything goes through `say`, or is JSON in ASCII, or has no words of others."""
    from tests.test_layers import PROJECT

    prints = [
        line.strip()
        for file in sorted((PROJECT / "flows" / "terminal").glob("*.py"))
        for line in file.read_text().splitlines()
        if "print(" in line and file.name != "say.py" and "console.print(" not in line
    ]
    allowed = ("print(json.dumps(printed))", "print(visible(", 'print(json.dumps({"recipe"')
    assert [line for line in prints if not line.startswith((*allowed, "whole.print_help"))] == []
