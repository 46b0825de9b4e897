"""A comparison in Markdown, as a table, and the words that they share."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lib.comparison.markdown import markdown
from lib.comparison.sentences import LONGEST_NAME
from lib.comparison.story import Opened
from lib.comparison.table import table, write_csv, write_parquet
from lib.comparison.words import (
    bytes_written,
    count_written,
    difference_written,
    middle_cut,
    seconds_written,
    short_names,
    web_address,
)
from lib.markdown import GAP
from tests.support.compared import grid, named, story

HOSTILE = "<script>alert(1)</script>"
NAMES = (
    "base",
    HOSTILE,
    "a|b",
    "two\nlines",
    "[x](http://evil/)",
    "**bold**",
    "=1+1",
    "é" * 300,
    'it"s, quoted',
    "f|\n<b>",
)


def cells(line: str) -> list[str]:
    """Of a row of a Markdown table, by its bars that no backslash escapes."""
    parts = line.replace(GAP, "").replace("\\|", "\0").strip("| ").split("|")
    return [part.strip().replace("\0", "\\|") for part in parts]


def test_a_row_says_what_a_variant_comes_to_and_costs() -> None:
    comparison = grid(5)
    header, _, *rows = markdown(story(comparison)).split("\n\n")[0].splitlines()
    assert cells(header) == ["variant", "accuracy", "difference", "p", "training", "trainable parameters", "memory"]
    assert cells(rows[0])[1:] == ["99.00% (97.10–99.66%)", "–", "reference", "5.0 s", "7.09M", "1.0 GiB"]
    assert cells(rows[0])[0].startswith("**[learning_rate 0.1, batch_size 8](http://127.0.0.1:5000/#/experiments/1/")
    assert cells(rows[0])[0].endswith("** (chosen)")
    assert cells(rows[1])[2:4] == ["−2.33", f"{comparison.rows[1].adjusted:.2f}"]
    assert cells(rows[3])[1:] == ["failed: the loss is no number", *["–"] * 5]
    assert cells(rows[-1])[0] == "TF-IDF"


def test_repeats_and_other_metrics_are_written_with_what_is_known_of_them() -> None:
    repeated = grid(2, repeats=3)
    first = repeated.rows[0]
    assert f"98.67% ({100 * (first.low or 0):.2f}–{first.high:.2%}, 3 trainings)" in markdown(story(repeated))
    by_loss = markdown(story(grid(2, repeats=3, metric="log_loss")))
    assert "log loss (smaller is better)" in by_loss
    assert "0.0500 ± 0.0200, 3 trainings" in by_loss
    assert "In brackets" not in by_loss


def test_published_figures_stand_in_columns_of_their_own() -> None:
    text = markdown(story(named(("a", "b", "c"), {"validation": 0.9933, "test": 0.95})))
    lines = text.splitlines()
    assert cells(lines[0])[-2:] == ["published, validation", "published, test"]
    assert cells(lines[2])[-2:] == ["99.33%", "95.00%"]
    assert cells(lines[4])[-2:] == ["–", "–"]


def test_peoples_words_make_no_markup_and_no_columns() -> None:
    lines = markdown(story(named(NAMES))).split("\n\n")[0].splitlines()
    assert len(lines) == 2 + len(NAMES)
    assert {len(cells(line)) for line in lines} == {7}
    text = "\n".join(lines)
    assert "<" not in text.replace("\\<", "")
    assert r"\[x\](http://evil/)" in text
    assert "é" * (LONGEST_NAME - 1) + "…" in text
    assert "é" * LONGEST_NAME not in text


def test_of_many_variants_the_chosen_one_the_reference_and_the_best_are_shown() -> None:
    comparison = grid(30)
    text = markdown(story(comparison), most=6)
    shown = [cells(line)[0] for line in text.splitlines()[2:8]]
    assert shown[0].startswith("**[learning_rate 0.1, batch_size 8]")
    assert shown[-1] == "TF-IDF"
    assert "25 more variants are in the table beside the page." in text
    best = sorted((row.value or 0.0 for row in comparison.rows if row.candidate), reverse=True)[:5]
    kept = [row.value for row in comparison.first_rows(6) if row.candidate]
    assert sorted(filter(None, kept), reverse=True) == best


def test_the_table_has_all_that_is_known_and_comes_back_from_parquet(tmp_path: Path) -> None:
    found = story(named(NAMES, {"validation": 0.99}))
    write_parquet(found, tmp_path / "comparison.parquet")
    back = pq.read_table(tmp_path / "comparison.parquet")
    assert back.equals(table(found))
    assert back["name"].to_pylist() == list(NAMES)
    assert [json.loads(each) for each in back["changes"].to_pylist()] == [{name: name} for name in NAMES]
    assert back["published_validation"].to_pylist() == [*[0.99] * 9, None]
    for row, kept in zip(found.comparison.rows, back.to_pylist(), strict=True):
        assert (kept["value"], kept["adjusted"], kept["chosen"]) == (row.value, row.adjusted, row.chosen)


def test_the_table_comes_back_from_csv(tmp_path: Path) -> None:
    found = story(named(NAMES))
    write_csv(found, tmp_path / "comparison.csv")
    with (tmp_path / "comparison.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == list(NAMES)
    assert [row["reason"] for row in rows] == ["", "", "", "", "", "", "", "", "", NAMES[-1]]
    assert [float(row["value"]) if row["value"] else None for row in rows] == [
        row.value for row in found.comparison.rows
    ]
    assert rows[-1]["value"] == ""


def test_how_often_the_test_split_was_opened_is_told() -> None:
    once = Opened("a", 0.97, 0.95, 0.98, 300, 0.95, looks=1)
    assert once.told == (
        "On the test split it labels 97.00% of 300 messages rightly (95% interval 95.00% to 98.00%). No other"
        " evaluation in this store has seen these messages.",
    )
    assert Opened("a", 0.97, 0.95, 0.98, 300, 0.95, looks=4).told[1].startswith("4 evaluations in this store")


def test_numbers_are_written_as_people_do() -> None:
    assert [seconds_written(each) for each in (None, 0.04, 9.96, 48.2, 95, 125, 4321, 36_000)] == [
        *("–", "0.0 s", "10 s", "48 s", "95 s", "2.1 min", "72.0 min", "10.0 h"),
    ]
    assert [count_written(each) for each in (None, 0, 999, 7_089_408, 999_700, 124_439_808, 10**12)] == [
        *("–", "0", "999", "7.09M", "1M", "124M", "1,000B"),
    ]
    assert [bytes_written(each) for each in (None, 5 * 2**20, 3 * 2**29)] == ["–", "5 MiB", "1.5 GiB"]
    assert [difference_written("accuracy", each) for each in (None, -1e-9, 0.012, -0.0336)] == [
        *("–", "+0.00", "+1.20", "−3.36"),
    ]
    assert difference_written("log_loss", -0.25) == "−0.2500"
    assert middle_cut("learning_rate\n0.1, batch_size 8", 13) == "learni…size 8"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("http://127.0.0.1:5000/#/experiments/1/runs/ab", "http://127.0.0.1:5000/#/experiments/1/runs/ab"),
        ("https://host/a b|c)", "https://host/a%20b%7Cc%29"),
        ("javascript:alert(1)", None),
        ("/runs/ab", None),
        ("", None),
    ],
)
def test_only_pages_are_linked(link: str, expected: str | None) -> None:
    assert web_address(link) == expected


def test_variants_of_a_grid_are_called_by_their_values() -> None:
    names, words = short_names(grid(7).rows)
    assert words == "learning_rate, batch_size"
    assert names["learning_rate 0.1, batch_size 16"] == "0.1, 16"
    assert names["TF-IDF"] == "TF-IDF"
    other = named(("gpt2 small, last block", "gpt2 medium, last block", "x"))
    assert short_names(other.rows) == ({row.name: row.name for row in other.rows}, "")
