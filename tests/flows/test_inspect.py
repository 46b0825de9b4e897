"""`finetune inspect`: what it prints, what it reads, what it writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.classify import PROGRAM
from flows.inspect import main, parser
from flows.terminal.command_line import parse
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import load_recipe
from tests.support.e2e import PROJECT
from tests.support.hub_server import hub_for
from tests.support.tiny_tokenizers import unigram, wordpiece

TEXTS = ["Win a free prize", "are you coming home for lunch?", "Ok Fenwold"]
LETTERS = str.maketrans("0123456789", "abcdefghij")  # texts that differ in digits only are near-duplicates
REVIEWS = "".join(
    f"{kind} it was {str(number).translate(LETTERS)},{kind}\n" for number in range(30) for kind in ("good", "bad")
)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    file = tmp_path / "my reviews.csv"
    file.write_text(f"review,verdict\n{REVIEWS}")
    return file


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def test_a_file_on_one_screen(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(reviews)]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) < 24
    assert lines[0] == "my reviews.csv: CSV, 1.1 kB, 60 rows"
    assert lines[1] == "  encoding utf-8 (by its bytes); separator ','; double quotes enclose fields; a header row"
    assert lines[2].split() == ["column", "looks", "like", "holds", "different", "characters", "three", "values"]
    assert lines[3].split()[:5] == ["'review'", "text", "texts", "60", "13"]
    assert lines[4].split() == ["'verdict'", "label", "texts", "2", "4", "'good',", "'bad'"]
    assert lines[5] == "2 classes: 'bad' 30 (50%), 'good' 30 (50%)"
    assert lines[6].startswith("tokens of 60 texts, by GPT-2's byte-pair encoding (50,257 tokens): median ")
    assert lines[6].endswith("none has more than 256")
    command = (
        f"finetune classify --recipe quickstart --name my-reviews --data.source file --data.url '{reviews}'"
        " --data.text_column review --data.label_column verdict"
    )
    assert lines[-2:] == ["Trains on it:", f"    {command}"]


def test_everything_as_one_json_object(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, str(reviews), "--max-length", "3")
    assert {name: found[name] for name in ("kind", "format", "separator", "rows", "labels", "refusal")} == {
        "kind": "labelled texts",
        "format": "csv",
        "separator": ",",
        "rows": 60,
        "labels": {"bad": 30, "good": 30},
        "refusal": None,
    }
    assert [(column["name"], column["role"]) for column in found["columns"]] == [
        ("review", "text"),
        ("verdict", "label"),
    ]
    assert found["lengths"][0]["longer"] == {"3": 60}
    assert found["tokenizers"] == []


def test_the_command_means_the_recipe_that_is_written(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reviews.open("a") as more:
        more.write("broken,line,here\n,good\nno label,\nonce,Good\nrare,worst\n")
    written = tmp_path / "reviews.yaml"
    command = asked(capsys, str(reviews), "--recipe", str(written))["command"]
    recipe = load_recipe(str(written), folder="classify", model=ClassifyRecipe)
    program, use_case, *flags = shlex.split(command)
    assert (program, use_case) == ("finetune", "classify")
    assert parse(flags, PROGRAM)[1] == recipe
    assert (recipe.data.bad_rows, recipe.data.empty_text, recipe.data.empty_label) == ("drop", "drop", "drop")
    assert recipe.data.rare_labels == "drop"
    assert recipe.name == recipe.registry.name == "my-reviews"
    text = written.read_text()
    assert "url: " in text
    assert "sha256" not in text
    assert "registry" not in text


def test_a_column_of_splits_becomes_a_field_of_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, written = tmp_path / "a.tsv", tmp_path / "a.yaml"
    parts = ["train", "train", "dev", "Test"]
    rows = [line.replace(",", "\t") for line in REVIEWS.splitlines()]
    file.write_text("".join(f"{row}\t{parts[number // 2 % 4]}\n" for number, row in enumerate(rows)))
    found = asked(capsys, str(file), "--recipe", str(written))
    assert found["split_column"] == 2
    recipe = load_recipe(str(written), folder="classify", model=ClassifyRecipe)
    assert (recipe.split.column, recipe.data.text_column) == (2, 0)


def test_a_recipe_is_not_written_over_another(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.yaml"
    kept.write_text("name: mine\n")
    assert main([str(reviews), "--recipe", str(kept)]) == 2
    assert "exists: give --recipe another name, or remove it" in capsys.readouterr().err
    assert kept.read_text() == "name: mine\n"
    assert main([str(reviews), "--recipe", str(tmp_path / "nowhere" / "a.yaml")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_no_recipe_for_what_a_run_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.csv"
    file.write_text("text,label\nsome words,x\nmore words,x\nother words,x\n")
    assert main([str(file), "--recipe", str(tmp_path / "one.yaml")]) == 2
    printed = capsys.readouterr()
    assert "A run would refuse this: one.csv: every message has the label 'x'" in printed.out
    assert "error: one.csv: every message has the label 'x'" in printed.err
    assert not (tmp_path / "one.yaml").exists()


def test_instructions_are_taught_by_the_other_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, recipe = tmp_path / "chats.jsonl", tmp_path / "chats.yaml"
    turns = [{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "Yes."}]
    file.write_text(f"{json.dumps({'messages': turns})}\n" * 5)
    found = asked(capsys, str(file), "--recipe", str(recipe))
    assert (found["kind"], found["shape"], found["repeated_questions"]) == ("instructions", "OpenAI messages", 4)
    assert found["command"] == (
        f"finetune instruct --recipe quickstart --name chats --data.source file --data.url {file}"
    )
    assert load_recipe(str(recipe), folder="instruct", model=InstructRecipe).data.url == str(file)
    assert main([str(file)]) == 0
    assert "instructions: OpenAI messages" in capsys.readouterr().out


def test_a_folder_a_pattern_and_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [tmp_path / "parts" / f"{name}.csv" for name in "ab"]
    places[0].parent.mkdir()
    for place in places:
        place.write_text(f"text,label\n{REVIEWS}")
    for given in ([tmp_path / "parts"], [tmp_path / "parts" / "*.csv"], places):
        found = asked(capsys, *map(str, given))
        assert (found["files"], found["rows"]) == (2, 120)
    assert "--data.files '{train: [" in found["command"]


def test_the_bundled_messages_beside_their_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tokenizer", "gpt2", "--max-length", "40"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 32
    assert lines[0].startswith("SMSSpamSample: tab-separated, ")
    assert lines[0].endswith(" 1,500 rows")
    assert {"│ tokens a text: median", "│   longest", "│ texts cut at 40 tokens"} <= {
        line.rpartition("│")[0].rpartition("│")[0].rstrip() for line in lines
    }
    assert lines[-1].strip() == "finetune classify --recipe quickstart"


def test_several_tokenizers_as_one_json_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pieces, unigrams = str(wordpiece(tmp_path / "pieces")), str(unigram(tmp_path / "unigrams"))
    file = tmp_path / "texts.csv"
    file.write_text("body\n" + "\n".join([*TEXTS, '""']) + "\n")
    found = asked(
        capsys, str(file), "--data.text_column", "body", "--max-length", "8",
        "--tokenizer", pieces, "--tokenizer", unigrams, "--tokenizer", "gpt2",
    )  # fmt: skip
    assert (found["file"], found["rows"], found["empty_texts"]) == ("texts.csv", 4, 1)
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
    assert "1 row has no text" in capsys.readouterr().out


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
        (["nowhere.csv"], "nowhere.csv does not exist"),
        (["--tokenizer", "nothing here"], "and there is no such folder or file here"),
        (["--tokenizer", "{empty}"], "has no tokenizer (tokenizer.json, or a vocabulary such as"),
        (["--tokenizer", "gpt2", "--max-length", "0"], "0 is no length: give a whole number of tokens, at least 1"),
        (["--data.quoting", "some"], "data.quoting"),
        (["--data.quotin", "csv"], "there is no flag --data.quotin: did you mean --data.quoting?"),
        (["{empty}"], "there is no data file in the folder"),
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


def test_it_imports_nothing_heavy(reviews: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from flows.inspect import main, parser
main([{str(reviews)!r}, "--recipe", {str(tmp_path / "a.yaml")!r}])
main(["--tokenizer", "gpt2", "--tokenizer", {str(wordpiece(tmp_path / "pieces"))!r}])
print([name for name in ("torch", "transformers", "prefect", "mlflow") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_commands_of_the_pages_are_understood() -> None:
    pages = [PROJECT / "README.md", *(PROJECT / "docs" / name for name in ("tokenizers.md", "inspect.md"))]
    commands = [line for page in pages for line in re.findall(r"^ {4}.*finetune inspect (.*)$", page.read_text(), re.M)]
    assert len(commands) >= 8
    for command in commands:
        parser().parse_args(shlex.split(command, comments=True))
