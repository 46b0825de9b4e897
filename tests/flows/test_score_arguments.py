"""The command line of scoring, without a server: flags become a job, mistakes one sentence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.score import main, parse
from lib.recipes.fields import recipe_fields
from lib.recipes.scoring import ScoringJob


def test_flags_become_a_checked_job() -> None:
    options, job = parse(
        ["a.csv", "in", "--output", "out", "--json", "--text_column", "1", "--id_column=0", "--drift.psi", "0.5"]
    )
    assert options.json
    assert job.inputs == ("a.csv", "in")
    assert (job.output, job.text_column, job.id_column, job.drift.psi) == ("out", 1, 0, 0.5)
    assert job.part_rows == 50_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a", "--output=o", "--txt_column=x"], "there is no flag --txt_column: did you mean --text_column?"),
        (["a", "--output=o", "--psi=x"], "there is no flag --psi: did you mean --drift.psi?"),
        (["a"], "the following arguments are required: --output; --help shows what there is"),
        (["a", "--output=o", "--part_rows=0"], "--part_rows is '0', but must be a whole number of at least 1"),
        (["a", "--output=o", "--format=xls"], "--format is 'xls', but must be tsv, csv, jsonl, parquet or null"),
        (["a", "--output=o", "--name=x", "--run=y"], "name and run both say which classifier answers"),
        (["a", "--output=o", "--text_column=0", "--id_column=id"], "text_column and id_column must both be names"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said


def test_the_form_of_prefect_refuses_what_it_does_not_know_and_describes_every_field() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ScoringJob.model_validate({"inputs": ["a"], "output": "o", "colour": "red"})
    assert [field.path for field in recipe_fields(ScoringJob) if not field.description] == []
    help_pages = ScoringJob.model_json_schema()["properties"]
    assert set(help_pages["inputs"]) >= {"description", "type"}


def test_help_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for field in recipe_fields(ScoringJob):
        assert field.path == "inputs" or f"--{field.path}" in printed
