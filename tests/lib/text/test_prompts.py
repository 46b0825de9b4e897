"""Prompt styles: the published texts to the letter, and answers out of what a model wrote."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest

from lib.data.entries.reading import read_entries
from lib.errors import RecipeError
from lib.text.prompts import STYLES, Style, StyleName, named_style
from lib.text.turns import Part, Turn, joined

SPELLING = {
    "alpaca": """\
Below is an instruction that describes a task. Write a response that appropriately completes the request.

### Instruction:
Identify the correct spelling of the following word.

### Input:
Ocassion

### Response:
The correct spelling is 'Occasion.'""",
    "phi3": """\
<|user|>
Identify the correct spelling of the following word.
Ocassion
<|assistant|>:
The correct spelling is 'Occasion.'""",
}
ANTONYM = {
    "alpaca": """\
Below is an instruction that describes a task. Write a response that appropriately completes the request.

### Instruction:
What is an antonym of 'complicated'?

### Response:
An antonym of 'complicated' is 'simple'.""",
    "phi3": """\
<|user|>
What is an antonym of 'complicated'?
<|assistant|>:
An antonym of 'complicated' is 'simple'.""",
}
EVERY_STYLE = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())


@pytest.mark.parametrize("name", ["alpaca", "phi3"])
def test_an_entry_with_input_and_one_without_as_published(name: str) -> None:
    style = named_style(name)
    instruction, word, output = (
        "Identify the correct spelling of the following word.",
        "Ocassion",
        "The correct spelling is 'Occasion.'",
    )
    assert style.prompt(instruction, word) + style.response(output) == SPELLING[name]
    question = "What is an antonym of 'complicated'?"
    assert style.prompt(question) + style.response("An antonym of 'complicated' is 'simple'.") == ANTONYM[name]
    assert style.prompt(question) == ANTONYM[name].split(question)[0] + question


@pytest.mark.data
@pytest.mark.parametrize("name", ["alpaca", "phi3"])
def test_entries_50_and_999_of_the_published_file_to_the_letter(real_data: Path, name: str) -> None:
    entries = read_entries(real_data / "instruction-data.json").table
    for number, text in ((50, SPELLING[name]), (999, ANTONYM[name])):
        entry = entries.iloc[number]
        style = named_style(name)
        assert style.prompt(entry["instruction"], entry["input"]) + style.response(entry["output"]) == text


@EVERY_STYLE
def test_several_turns_are_entries_one_after_the_other(style: Style) -> None:
    earlier = [Turn("system", "Be brief."), Turn("user", "one?"), Turn("assistant", "1")]
    first, last = style.texts("two?", "x", earlier, "2")
    assert first == [Part(f"Be brief.\n\n{style.prompt('one?')}"), Part(style.response("1"), answer=True)]
    assert [last] == style.texts("two?", "x", (), "2")
    assert last == [Part(style.prompt("two?", "x")), Part(style.response("2"), answer=True)]
    assert style.texts("two?", "x", earlier) == [first, last[:1]]
    assert style.prompt("two?", "x", earlier) == f"{joined(first)}\n\n{joined(last[:1])}"
    assert "have no words for several turns" in style.remark({"user"})
    assert style.remark(set()) == ""


@EVERY_STYLE
@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_white_space_alone_is_no_input(style: Style, blank: str) -> None:
    assert style.prompt("do", blank) == style.prompt("do")


@EVERY_STYLE
def test_the_answer_is_what_the_response_was_made_of(style: Style) -> None:
    for output in ("yes", "two\n\nlines", "### Response:", "It is <|assistant|>: or ### Response:\nhere"):
        assert style.answer(style.response(output)) == output
        assert style.answer(f"{style.response(output)} \n") == output


def test_only_the_lead_in_at_the_beginning_is_taken_away() -> None:
    alpaca = STYLES["alpaca"]
    assert alpaca.answer("\n\n### Response:\nAbove it stands ### Response: and more.") == (
        "Above it stands ### Response: and more."
    )
    assert alpaca.answer("### Response:yes") == "yes"
    assert alpaca.answer(" yes\n\n### Response:\nno ") == "yes\n\n### Response:\nno"
    assert alpaca.answer("\n<|assistant|>:\nyes") == "<|assistant|>:\nyes"
    assert alpaca.answer("\n\n### Resp") == "### Resp"
    assert alpaca.answer("\n\n### Response:\n") == alpaca.answer("") == ""


@EVERY_STYLE
def test_a_style_is_saved_as_plain_texts(style: Style) -> None:
    assert Style(**asdict(style)) == style
    assert all(type(text) is str for text in asdict(style).values())


def test_a_recipes_choices_are_the_table() -> None:
    assert get_args(StyleName) == ("auto", *STYLES, "chat")


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^prompt\.style 'llama' is not known: choose 'alpaca' or 'phi3'$"):
        named_style("llama")
