"""A saved model that follows instructions: what it is asked with, and what becomes of what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.errors import MessagesError, WeightsError
from lib.inference import answerer as answering
from lib.inference.answerer import Answerer, Written
from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.writing import WritingGPT
from lib.model.language_model import Writing
from lib.store.fingerprint import code_fingerprint
from lib.text.gpt2 import PAD, gpt2_tokenizer
from lib.text.tokenizer import LONGEST_TEXT
from lib.text.turns import Turn
from lib.training.instruct.batches import END
from tests.support.followers import ANSWERS, RESPOND, RESPONSES, STYLE, chains_of, following, write_follower

ENCODING = gpt2_tokenizer().encoding
QUESTION = ENCODING.encode_ordinary("?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_follower(tmp_path_factory.mktemp("saved") / "follower")


@pytest.fixture(scope="module")
def answerer(folder: Path) -> Answerer:
    return Answerer.load(folder, device="cpu")


def written(gpt: GPT, questions: list[tuple[str, str]], **changed: Any) -> list[Written]:
    writing = Writing(**{**RESPOND, **changed})
    return Answerer(WritingGPT(gpt), STYLE, gpt2_tokenizer(), "float32", writing).write(questions)


def test_the_end_of_an_answer_is_what_training_puts_there() -> None:
    assert gpt2_tokenizer().end == END


def test_the_prompt_is_in_the_words_that_lie_beside_the_weights(answerer: Answerer) -> None:
    # "Q: Is it?", "Q: Do it I: now!", "Q: now! I: Is it?"; white space alone is no input
    questions = [("Is it?", ""), ("Do it", "now!"), ("now!", "Is it?"), ("Is it?", " \n")]
    assert list(answerer.answer(questions)) == [RESPONSES[last] for last in "?!??"]


def test_earlier_turns_stand_before_the_question(folder: Path) -> None:
    asked: list[list[int]] = []

    class Listening(WritingGPT):
        def generate(self, prompts: Any, *arguments: Any, **options: Any) -> Any:
            asked.extend(prompts)
            return super().generate(prompts, *arguments, **options)

    earlier = [Turn("user", "Hm"), Turn("assistant", "what?")]
    listening = Answerer(
        Listening(following(chains_of(ANSWERS))), STYLE, gpt2_tokenizer(), "float32", Writing(**RESPOND)
    )
    assert list(listening.answer([("Is it?", "", earlier)])) == [RESPONSES["?"]]
    assert asked == [[*ENCODING.encode_ordinary("Q: Hm A:what?"), PAD, *ENCODING.encode_ordinary("Q: Is it?")]]


@pytest.mark.parametrize(
    ("earlier", "sentence"),
    [
        ([Turn("assistant", "a")], "cannot stand before a question: turn 1 is the assistant's where the user's is"),
        ([Turn("user", "a")], "cannot stand before a question: the last turn is the user's, which is the question"),
        ([Turn("system", "s"), Turn("user", "a"), Turn("user", "b")], "turn 3 is the user's where the assistant's is"),
        ([Turn("tool", "a")], "turn 1 is the tool's where the user's is expected"),
    ],
)
def test_turns_that_cannot_stand_before_a_question_are_refused(
    answerer: Answerer, earlier: list[Turn], sentence: str
) -> None:
    with pytest.raises(MessagesError, match=f"what was said before question 2 .*{sentence}"):
        list(answerer.answer([("Is it?", ""), ("Is it?", "", earlier)]))


def test_tokens_and_stopping_are_told() -> None:
    gpt = following(chains_of(ANSWERS))
    whole = len(ENCODING.encode_ordinary(ANSWERS["?"]))
    assert written(gpt, [("Is it?", "")]) == [Written("yes, that is so", whole, stopped=True)]
    assert written(gpt, [("Is it?", "")], max_new_tokens=whole + 1)[0].stopped
    # The model had no chance to say that it was done.
    assert written(gpt, [("Is it?", "")], max_new_tokens=whole) == [Written("yes, that is so", whole, stopped=False)]
    assert written(gpt, [("Is it?", "")], max_new_tokens=4) == [Written("yes,", 4, stopped=False)]


def test_a_character_that_the_limit_cuts_is_left_out() -> None:
    gpt = following(chains_of(ANSWERS))
    tokens = ENCODING.encode_ordinary(ANSWERS["!"])
    texts = [ENCODING.decode(tokens[:count]).strip() for count in range(1, len(tokens) + 1)]
    assert sum("�" in text for text in texts) == 1  # 😀 is two tokens
    responses = [written(gpt, [("Do!", "")], max_new_tokens=count)[0].response for count in range(1, len(tokens) + 1)]
    assert responses == [text.replace("�", "").strip() for text in texts]


def test_bytes_that_are_no_text_become_a_sign_that_says_so() -> None:
    half = next(token for token in ENCODING.encode_ordinary("😀") if b"\xf0" in ENCODING.decode_bytes([token]))
    (letter,) = ENCODING.encode_ordinary("a")
    gpt = following([[*QUESTION, half, letter, PAD]])
    assert written(gpt, [("Is it?", "")])[0].response == "�a"


def test_tokens_that_the_encoding_does_not_have_are_no_text() -> None:
    yes, no = ENCODING.encode_ordinary(" yes") + ENCODING.encode_ordinary(" no")
    gpt = following([[*QUESTION, yes, 50300, no, PAD]], vocab_size=50304)
    assert written(gpt, [("Is it?", "")]) == [Written("yes no", 3, stopped=True)]


def test_a_prompt_that_fills_the_context_is_answered(answerer: Answerer) -> None:
    assert isinstance(answerer.model, WritingGPT)
    assert answerer.model.config.context_length == 24
    assert list(answerer.answer([("word " * 60 + "Is it?", "")])) == [RESPONSES["?"]]


def test_how_to_answer_is_the_recipes(tmp_path: Path) -> None:
    drawn = {"temperature": 2.0, "top_k": 50, "top_p": 0.9, "max_new_tokens": 7}
    answerers = [Answerer.load(write_follower(tmp_path / f"{seed}", **drawn, seed=seed)) for seed in (8, 9)]
    questions = [("Is it?", ""), ("Do!", ""), ("Go", "")]
    answers = [list(answerer.answer(questions)) for answerer in answerers]
    gpt = following(chains_of(ANSWERS))
    assert answers == [[each.response for each in written(gpt, questions, **drawn, seed=seed)] for seed in (8, 9)]
    assert answers[0] != answers[1]


def test_questions_are_read_a_window_at_a_time_and_answered_in_order(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "WINDOW", 4)
    questions = [(f"{'long ' * (number % 3)}it{'?!'[number % 2]}", "") for number in range(10)]
    read: list[tuple[str, str]] = []

    def reading() -> Iterator[tuple[str, str]]:
        for question in questions:
            read.append(question)
            yield question

    answers = answerer.answer(reading())
    first = next(answers)
    assert len(read) == 4
    assert [first, *answers] == [RESPONSES[question[-1]] for question, _ in questions]


def test_no_questions_give_no_answers(answerer: Answerer) -> None:
    assert list(answerer.answer([])) == []


@pytest.mark.parametrize(
    ("questions", "sentence"),
    [
        ([("fine", ""), ("", "")], "the instruction of question 2 is empty: leave it out, nothing is asked"),
        ([("  \n", "input")], "the instruction of question 1 is empty"),
        ([("a", ""), ("b", ""), ("c", None)], "the input of question 3 is not a string but None: give it as a string"),
        ([(5, "")], "the instruction of question 1 is not a string but 5"),
        ([("a", "x" * (LONGEST_TEXT + 1))], "the input of question 1 has 900,001 characters: cut it"),
        ([("a", "")] * 3 + [("", "")], "the instruction of question 4 is empty"),
    ],
)
def test_what_is_no_question_is_named_by_its_position(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch, questions: list[Any], sentence: str
) -> None:
    monkeypatch.setattr(answering, "WINDOW", 3)  # positions count on over windows
    with pytest.raises(MessagesError, match=sentence):
        list(answerer.answer(questions))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("respond.seed", "1", "respond.seed = '1'"),
        ("respond.batch_size", True, "respond.batch_size = True"),
        ("precision", None, "precision = None"),
        ("prompt.before_input", 0, "prompt.before_input = 0"),
    ],
)
def test_a_field_that_is_wrong_is_named(tmp_path: Path, path: str, value: Any, said: str) -> None:
    folder = write_follower(tmp_path / "wrong")
    fields = json.loads((folder / "inference.json").read_text())
    *sections, name = path.split(".")
    part = fields
    for section in sections:
        part = part[section]
    part[name] = value
    (folder / "inference.json").write_text(json.dumps(fields))
    with pytest.raises(WeightsError, match=f"inference.json has {said}: train the model again"):
        Answerer.load(folder)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        *((name, "does not exist") for name in ("model.safetensors", "config.json", "inference.json")),
        ("tokenizer.json", "cannot be read"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path: Path, file: str, said: str) -> None:
    folder = write_follower(tmp_path / "incomplete")
    (folder / file).unlink()
    with pytest.raises(WeightsError, match=f"{file} {said}"):
        Answerer.load(folder)


def test_serving_needs_neither_training_nor_recipes() -> None:
    parts = {module.split(".")[1] for module in code_fingerprint("lib.inference.answerer") if module != "lib"}
    assert parts == {"inference", "files", "errors", "model", "progress", "text", "visible"}
