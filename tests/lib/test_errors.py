"""Every error is one sentence, whatever it quotes."""

from __future__ import annotations

import pytest

from lib.errors import LONGEST_SENTENCE, FinetuneError, MessagesError, SourceError


@pytest.mark.parametrize("kind", [FinetuneError, MessagesError, SourceError])
def test_a_sentence_is_on_one_line_without_what_a_terminal_obeys(kind: type[FinetuneError]) -> None:
    said = "the file 'a\n\x1b[2J\u202e\ud83d' is none: name another one"
    assert str(kind(said)) == "the file 'a\\u000a\\u001b[2J\\u202e\\ud83d' is none: name another one"
    assert str(kind("der größte Text 😀")) == "der größte Text 😀"


def test_a_sentence_is_bounded_and_keeps_what_to_do() -> None:
    said = str(MessagesError(f"{'x' * 100_000} is no label: name one"))
    assert len(said) == LONGEST_SENTENCE
    assert said.startswith("xxx")
    assert said.endswith(" is no label: name one")
