"""Bodies of requests: the forms that are read, and the sentences for those that are not."""

import json

import pytest

from lib.errors import MessagesError
from lib.inference.requests import text_of, texts_of
from lib.text.tokenizer import LONGEST_TEXT

TEXTS = ["see you", "£5 & <b>\n"]


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": TEXTS},
        {"instances": TEXTS},
        {"inputs": {"text": TEXTS}},
        {"inputs": [{"text": text} for text in TEXTS]},
        {"dataframe_records": [{"id": 3, "text": text} for text in TEXTS]},
        {"dataframe_split": {"columns": ["label", "text"], "index": [0, 1], "data": [["ham", text] for text in TEXTS]}},
        {"inputs": TEXTS, "params": {"temperature": 0}},
    ],
    ids=lambda content: " ".join(content),
)
def test_each_form_of_mlflows_protocol_is_read(content: dict[str, object]) -> None:
    assert texts_of(json.dumps(content).encode()) == TEXTS
    assert texts_of(json.dumps(content, ensure_ascii=False).encode()) == TEXTS


def test_half_a_character_is_refused_and_a_pair_is_a_character() -> None:
    assert texts_of(rb'{"inputs": ["\ud83d\ude00 x"]}') == ["😀 x"]
    with pytest.raises(MessagesError, match=r"text 2 holds half a character \(\\ud83d without its pair\): give whole"):
        texts_of(rb'{"inputs": ["x", "\ud83d x"]}')


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b'{"inputs": ["a"', "not JSON"),
        (b'{"inputs": ["\xff"]}', "not UTF-8"),
        (b'{"inputs": ' + b"[" * 100_000, "too many brackets"),
        (b'{"inputs": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b'["a"]', "not an object"),
        (b'{"text": "a"}', r'exactly one of inputs, .* and has \["text"\]'),
        (b'{"inputs": ["a"], "instances": ["b"]}', "exactly one of"),
        (b'{"inputs": "hello"}', 'inputs is "hello": make it a list'),
        (b'{"inputs": []}', "inputs is empty"),
        (b'{"inputs": {"body": ["a"]}}', r'inputs has no .text. but \["body"\]'),
        (b'{"inputs": ["a", " "]}', "text 2 is empty"),
        (b'{"inputs": ["a", 5]}', "text 2 is 5: give each text as a string"),
        (b'{"inputs": ["a", null]}', "text 2 is null"),
        (b'{"inputs": [NaN]}', "text 1 is NaN"),
        (b'{"inputs": ["a", {"text": "b"}]}', 'text 2 is {"text": "b"}'),
        (b'{"dataframe_records": ["a"]}', "must be a list of objects"),
        (b'{"dataframe_records": [{"text": "a"}, {"body": "b"}]}', "row 2 of dataframe_records has no 'text'"),
        (b'{"dataframe_split": ["a"]}', "must have data, and columns with one called 'text'"),
        (b'{"dataframe_split": {"columns": ["text", "text"], "data": []}}', "one called 'text'"),
        (b'{"dataframe_split": {"columns": ["text"], "data": [["a"], []]}}', "row 2 of dataframe_split is not a list"),
        (b'{"inputs": ["' + b" " * LONGEST_TEXT + b'a"]}', "900,001 characters"),
    ],
)
def test_what_is_wrong_is_said_in_one_short_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(MessagesError, match=sentence) as raised:
        texts_of(body)
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("body", [b'{"inputs": ["a"]}', b'{"text": "a", "words": 3}', b"{}"])
def test_a_text_to_explain_is_all_there_may_be(body: bytes) -> None:
    assert text_of(b'{"text": "a"}') == "a"
    with pytest.raises(MessagesError, match="must have 'text' and nothing else"):
        text_of(body)
