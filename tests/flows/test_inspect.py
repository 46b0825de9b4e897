"""`finetune inspect`: what it prints, what it reads, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.inspect import main, parser
from tests.support.e2e import PROJECT
from tests.support.hub_server import hub_for
from tests.support.tiny_tokenizers import unigram, wordpiece

TEXTS = ["Win a free prize", "are you coming home for lunch?", "Ok Fenwold"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def test_the_bundled_messages_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tokenizer", "gpt2", "--max-length", "40"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert lines[0].startswith("SMSSpamSample: 1,500 messages")
    assert {"│ tokens a message: median", "│   longest", "│ messages cut at 40 tokens"} <= {
        line.rpartition("│")[0].rpartition("│")[0].rstrip() for line in lines
    }


def test_several_tokenizers_as_one_json_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pieces, unigrams = str(wordpiece(tmp_path / "pieces")), str(unigram(tmp_path / "unigrams"))
    file = tmp_path / "texts.csv"
    file.write_text("body\n" + "\n".join([*TEXTS, '""']) + "\n")
    found = asked(
        capsys, str(file), "--data.text_column", "body", "--max-length", "8",
        "--tokenizer", pieces, "--tokenizer", unigrams, "--tokenizer", "gpt2",
    )  # fmt: skip
    assert (found["file"], found["rows"], found["empty_texts"], found["max_length"]) == ("texts.csv", 4, 1, 8)
    assert [each["tokenizer"] for each in found["tokenizers"]] == [pieces, unigrams, "gpt2"]
    gpt2 = found["tokenizers"][2]
    assert gpt2 == {
        "tokenizer": "gpt2",
        "kind": "GPT-2's byte-pair encoding (50,257 tokens)",
        "texts": 3,
        "tokens": {"median": 4.0, "p95": pytest.approx(6.7), "longest": 7},
        "characters_per_token": pytest.approx(56 / 15),
        "unknown": 0.0,
        "split": pytest.approx(1 / 12),
        "most_split": [{"word": "Fenwold", "pieces": 3, "times": 1}],
        "cut": 0,
    }
    assert found["tokenizers"][0]["kind"] == "WordPiece (120 tokens)"
    assert found["tokenizers"][1]["tokens"]["longest"] > 8
    assert found["tokenizers"][1]["cut"] >= 1
    assert main([str(file), "--data.text_column", "body", "--tokenizer", pieces, "--tokenizer", "gpt2"]) == 0
    assert "(1 more are empty)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.tsv", "zipped"])
def test_every_format_that_the_step_messages_reads(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One column is enough; the bundled archive has its texts in the second of two columns without names."""
    options: list[str] = []
    file = tmp_path / name
    if name == "texts.jsonl":
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    elif name == "texts.tsv":
        file.write_text("".join(f"{text}\n" for text in TEXTS))
        options = ["--data.text_column", "0", "--data.quoting", "none"]
    else:
        file = PROJECT / "lib" / "data" / "samples" / "assets" / "sample.zip"
        options = ["--data.text_column", "1", "--data.member", "SMSSpamSample", "--data.format", "tsv"]
        options += ["--data.quoting", "none"]
    assert asked(capsys, str(file), *options, "--tokenizer", "gpt2")["rows"] == (1500 if name == "zipped" else 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: --tokenizer; --help shows what there is"),
        (["--tokenizer", "gpt2", "nowhere.csv"], "nowhere.csv"),
        (["--tokenizer", "nothing here"], "and there is no such folder or file here"),
        (["--tokenizer", "{empty}"], "has no tokenizer (tokenizer.json, or a vocabulary such as"),
        (["--tokenizer", "gpt2", "--max-length", "0"], "0 is no length: give a whole number of tokens, at least 1"),
        (["--tokenizer", "gpt2", "--data.quoting", "some"], "data.quoting"),
        (["--tokenizer", "gpt2", "--data.quotin", "csv"], "unrecognized arguments: --data.quotin"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([argument.format(empty=tmp_path) for argument in arguments]) == 2
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert sentence in error


def test_a_repository_on_a_hub_is_fetched_without_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = wordpiece(tmp_path / "files")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    with hub_for(monkeypatch, tmp_path) as hub:
        hub.add("owner/bert", {**files, "config.json": b'{"model_type": "bert"}', "model.safetensors": b"large"})
        found = asked(capsys, "--tokenizer", "owner/bert", "--tokenizer", str(folder))
        assert not any(request.path.endswith(".safetensors") for request in hub.requests)
    hubs, local = found["tokenizers"]
    assert {**hubs, "tokenizer": ""} == {**local, "tokenizer": ""}


def test_it_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = f"""
import sys
from flows.inspect import main, parser
main(["--tokenizer", "gpt2", "--tokenizer", {str(wordpiece(tmp_path))!r}])
print([name for name in ("torch", "transformers", "prefect", "mlflow") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_commands_of_the_pages_are_understood() -> None:
    pages = [PROJECT / "README.md", PROJECT / "docs" / "tokenizers.md"]
    commands = [line for page in pages for line in re.findall(r"^ {4}.*finetune inspect (.*)$", page.read_text(), re.M)]
    assert len(commands) == 3
    for command in commands:
        assert parser().parse_args(shlex.split(command, comments=True)).tokenizer
