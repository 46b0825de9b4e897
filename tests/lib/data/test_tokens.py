"""Tokens of every split: lengths, cutting, and what the report says. One fake tokenizer can be read by eye."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from lib.data import groups, parts, tokens
from lib.data.tokens import Tokenized
from lib.errors import RecipeError
from lib.files.jsonfile import save_json
from lib.text.gpt2 import PAD, gpt2_tokenizer
from lib.text.long_texts import LongTexts
from lib.text.tokens import tokenize
from lib.text.windows import lengths_of, rows_of
from tests.support.characters import Characters
from tests.support.tokens import tokenized

TOKENIZER = Characters()


def table(*rows: tuple[int, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "text", "label"])


SPLITS = {
    "train": table((4, "abc", "ham"), (2, "AB", "spam")),
    "validation": table((0, "abcde", "spam")),
    "test": table((3, "a", "ham")),
    "reserve": table((1, "wxyz", "ham")),
}


class Made(NamedTuple):
    """What is said of some tokens, and their tables."""

    said: Tokenized
    tables: dict[str, pd.DataFrame]


def tokens_of(splits: dict[str, pd.DataFrame], **options: Any) -> Made:
    given = {"labels": ("ham", "spam"), "tokenizer": TOKENIZER, "max_length": None, "context_length": 10}
    with tempfile.TemporaryDirectory() as folder:
        return Made(*tokenized(splits, Path(folder), **(given | options)))


def test_tokenize_cuts_at_max_length() -> None:
    assert tokenize(["abc", "a"], TOKENIZER, max_length=2) == [[97, 98], [97]]
    assert tokenize(["abc"], TOKENIZER) == [[97, 98, 99]]


def test_max_length_null_is_the_longest_training_message() -> None:
    result = tokens_of(SPLITS)
    assert result.said.max_length == 3
    assert result.tables["train"].to_dict("list") == {
        "id": [4, 2],
        "tokens": [[97, 98, 99], [65, 66]],
        "target": [0, 1],
    }
    assert result.tables["validation"]["tokens"].tolist() == [[97, 98, 99]]
    assert result.tables["reserve"].to_dict("list") == {"id": [1], "tokens": [[119, 120, 121]], "target": [0]}
    assert all(str(one["target"].dtype) == "int64" for one in result.tables.values())


def test_report_counts_what_was_cut() -> None:
    assert tokens_of(SPLITS).said.report == {
        "max_length": 3,
        "longest_training_message": 3,
        "splits": {
            "train": {"rows": 2, "tokens": 5, "truncated": 0, "median": 2.5, "p95": 2.95, "longest": 3},
            "validation": {"rows": 1, "tokens": 3, "truncated": 1, "median": 5, "p95": 5, "longest": 5},
            "test": {"rows": 1, "tokens": 1, "truncated": 0, "median": 1, "p95": 1, "longest": 1},
            "reserve": {"rows": 1, "tokens": 3, "truncated": 1, "median": 4, "p95": 4, "longest": 4},
        },
        "cut": {"rows": 2, "of": 5, "share": 3 / 15, "labels": {"ham": 1 / 8, "spam": 2 / 7}},
    }


def test_a_given_max_length_is_kept_even_when_messages_are_shorter() -> None:
    assert tokens_of(SPLITS, max_length=8).said.max_length == 8


def test_a_given_max_length_cuts_training_messages_too() -> None:
    result = tokens_of(SPLITS, max_length=1)
    assert result.tables["train"]["tokens"].tolist() == [[97], [65]]
    assert result.said.report["splits"]["train"]["truncated"] == 2


def test_max_length_null_never_exceeds_the_context() -> None:
    result = tokens_of(SPLITS, context_length=2)
    assert result.said.max_length == 2
    assert result.said.report["longest_training_message"] == 3
    assert result.said.report["splits"]["train"] == {
        "rows": 2,
        "tokens": 4,
        "truncated": 1,
        "median": 2.5,
        "p95": 2.95,
        "longest": 3,
    }


def test_max_length_over_the_context_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^encoding\.max_length 2000 is over the model's context of 1024: "):
        tokens_of(SPLITS, max_length=2000, context_length=1024)


def test_an_empty_reserve_gives_an_empty_table() -> None:
    result = tokens_of(SPLITS | {"reserve": SPLITS["reserve"].iloc[:0]})
    assert list(result.tables["reserve"].columns) == ["id", "tokens", "target"]
    assert result.said.report["splits"]["reserve"] == {
        "rows": 0,
        "tokens": 0,
        "truncated": 0,
        "median": 0,
        "p95": 0,
        "longest": 0,
    }


def test_end_of_text_in_a_message_is_not_the_padding_token() -> None:
    splits = {"train": table((0, "free <|endoftext|> prize", "spam"))}
    result = tokens_of(splits, labels=("spam",), tokenizer=gpt2_tokenizer(), context_length=1024)
    assert PAD not in result.tables["train"]["tokens"][0]


def test_special_tokens_around_a_text_are_kept_where_it_is_cut() -> None:
    result = tokens_of(SPLITS, tokenizer=Characters(ending="]"), max_length=3)
    assert [Characters().decode(tokens) for tokens in result.tables["train"]["tokens"]] == ["ab]", "AB]"]
    assert result.tables["validation"]["tokens"].tolist() == [[97, 98, 93]]
    assert result.said.report["splits"]["train"]["longest"] == result.said.report["longest_training_message"] == 4
    assert tokenize(["abc"], Characters(ending="]"), max_length=3) == [[97, 98, 93]]


def test_what_is_cut_is_said_with_the_label_that_loses_most_and_the_way_out() -> None:
    assert tokens_of(SPLITS).said.warnings == (
        "only a part is read of 2 of 5 texts, those of more than 3 tokens: 20.0% of all tokens are left out, and 28.6%"
        " of those of 'spam', which loses most; set encoding.long_texts to 'windows', or encoding.max_length to at most"
        " 10, to read more",
    )
    assert "encoding.max_length" not in tokens_of(SPLITS, context_length=3).said.warnings[0]
    assert tokens_of(SPLITS, max_length=5).said.warnings == ()
    assert "cut" not in tokens_of(SPLITS, max_length=5).said.report


def test_one_very_long_training_message_does_not_decide_how_long_rows_are() -> None:
    texts = {"train": table(*((number, "word " * 10, "ham") for number in range(99)), (99, "x" * 100_000, "spam"))}
    result = tokens_of(texts, context_length=8192)
    assert (result.said.max_length, result.said.report["longest_training_message"]) == (512, 100_000)
    assert tokens_of({"train": table((0, "x" * 100_000, "ham"))}, context_length=8192).said.max_length == 8192


def test_head_and_tail_keeps_both_ends() -> None:
    result = tokens_of(
        {"train": table((0, "abcdefgh", "ham"), (1, "xy", "spam"))},
        max_length=4,
        long_texts=LongTexts("head_and_tail", head_share=0.25),
    )
    assert [TOKENIZER.decode(tokens) for tokens in result.tables["train"]["tokens"]] == ["afgh", "xy"]
    assert result.said.report["long_texts"] == {"method": "head_and_tail", "head_share": 0.25}
    assert result.said.report["cut"] == {"rows": 1, "of": 2, "share": 4 / 10, "labels": {"ham": 4 / 8, "spam": 0.0}}


def test_windows_are_rows_of_their_message_and_nothing_is_lost() -> None:
    result = tokens_of(
        {"train": table((7, "abcdefgh", "ham"), (3, "xy", "spam"))}, max_length=4, long_texts=LongTexts("windows")
    )
    found = result.tables["train"]
    assert found.drop(columns="tokens").to_dict("list") == {
        "id": [7, 7, 3],
        "target": [0, 0, 1],
        "window": [0, 1, 0],
    }
    assert [TOKENIZER.decode(tokens) for tokens in found["tokens"]] == ["abcd", "efgh", "xy"]
    assert result.said.report == {
        "max_length": 4,
        "longest_training_message": 8,
        "splits": {
            "train": {
                "rows": 2,
                "windows": 3,
                "tokens": 10,
                "truncated": 0,
                "median": 5,
                "p95": pytest.approx(7.7),
                "longest": 8,
            }
        },
        "long_texts": {"method": "windows", "overlap": 0, "window_pooling": "mean", "most_windows": 32},
    }
    assert result.said.warnings == ()


def test_windows_beyond_the_most_are_said_to_be_left_out() -> None:
    splits = {"train": table((0, "abcdefghijklmnopqrst", "ham"), (1, "xy", "spam"))}
    result = tokens_of(splits, max_length=4, long_texts=LongTexts("windows", overlap=0, most_windows=2))
    assert [TOKENIZER.decode(tokens) for tokens in result.tables["train"]["tokens"]] == ["abcd", "qrst", "xy"]
    assert result.said.report["splits"]["train"]["truncated"] == 1
    assert result.said.warnings == (
        "only a part is read of 1 of 2 texts, those of more than 2 windows of 4 tokens: 54.5% of all tokens are left"
        " out, and 60.0% of those of 'ham', which loses most; raise encoding.most_windows to read more",
    )


@pytest.mark.parametrize("method", ["cut_end", "head_and_tail", "windows"])
@pytest.mark.parametrize("max_length", [None, 4])
def test_the_bytes_do_not_depend_on_how_many_texts_are_read_at_once(
    method: Any, max_length: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts = ["word " * (7 * row % 11 + 1) for row in range(50)]
    train = table(*((row, text, "ham" if row % 3 else "spam") for row, text in enumerate(texts)))
    options: dict[str, Any] = {"labels": ("ham", "spam"), "tokenizer": TOKENIZER, "max_length": max_length}
    options |= {"context_length": 40, "long_texts": LongTexts(method)}
    monkeypatch.setattr(parts, "ROWS_PER_PART", 30)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 8)
    made = []
    for bytes_at_once in (1, 100, 10**6):
        monkeypatch.setattr(tokens, "BYTES_AT_ONCE", bytes_at_once)
        folder = tmp_path / f"{bytes_at_once}"
        said, _ = tokenized({"train": train, "validation": train.iloc[:20]}, folder, **options)
        files = sorted(each for each in (folder / "tokens").rglob("*") if each.is_file())
        made.append((said, [(file.name, file.read_bytes()) for file in files]))
    assert made[0] == made[1] == made[2]
    assert len(made[0][1]) > 2


@pytest.mark.parametrize("method", ["cut_end", "windows"])
def test_what_was_written_is_read_from_its_files(method: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 3)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 2)
    train = table((5, "abcdef", "ham"), (7, "x", "spam"), (9, "yz", "ham"), (2, "abcd", "spam"))
    said, tables = tokenized(
        {"train": train},
        tmp_path,
        labels=("ham", "spam"),
        tokenizer=TOKENIZER,
        max_length=4,
        context_length=10,
        long_texts=LongTexts(method),
    )
    save_json(said.report, tmp_path / "tokens" / tokens.REPORT)
    read = tokens.load_tokens(tmp_path / "tokens", "train")
    assert read.targets.tolist() == [0, 1, 0, 1]
    assert lengths_of(read.texts).tolist() == [8 if method == "windows" else 4, 1, 2, 4]
    assert read.row_ids.tolist() == tables["train"]["id"].tolist()
    assert [row.tolist() for row in rows_of(read.texts)] == tables["train"]["tokens"].tolist()
    assert not rows_of(read.texts)[0].flags.owndata
