"""docs/tokenizers.md shows what the tokenizers do."""

from __future__ import annotations

import re
import runpy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "five_tokenizers.py"))


def test_the_tables_are_up_to_date(made: dict[str, Any]) -> None:
    """A figure's last place may differ by one: of pairs seen equally often a training merges now one, now another."""
    page = (DOCS / "tokenizers.md").read_text(encoding="utf-8")
    (words, figures), (made_words, made_figures) = apart(page), apart(made["page_with_tables"](page))
    assert made_words == words, "run `python docs/five_tokenizers.py`"
    assert all(
        abs(Decimal(found) - Decimal(said)) <= Decimal(1).scaleb(-len(said.partition(".")[2]))
        for said, found in zip(figures, made_figures, strict=True)
    ), "run `python docs/five_tokenizers.py`"
    with pytest.raises(ValueError, match="the page needs the lines"):
        made["page_with_tables"]("# Tokenizers\n")


def apart(page: str) -> tuple[list[str], list[str]]:
    """The text between the table's figures, and the figures."""
    parts = re.split(r"(?<=\| )(\d+\.?\d*)(?=[ %])", page)
    return parts[::2], parts[1::2]


def test_each_message_goes_through_each_of_five_tokenizers(made: dict[str, Any]) -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (`.*`) \|$", made["tables"](), flags=re.MULTILINE)
    kinds = ["words", "characters", "WordPiece", "byte-pair (GPT-2's)", "Unigram"]
    assert [kind for kind, _, _ in rows] == kinds * len(made["MESSAGES"])
    assert all(len(tokens.split()) == int(count) for _, count, tokens in rows)


def test_what_the_page_says_of_the_training(made: dict[str, Any]) -> None:
    texts, others = made["sample"]()
    assert (len(texts), len(others)) == (1200, 300)
    assert not set(made["MESSAGES"]) & {*texts, *others}
