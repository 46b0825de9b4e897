"""Which texts count as the same message."""

from __future__ import annotations

import pytest

from lib.data.duplicates import normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Call now", "CALL NOW"),
        ("Call 0800 123 456 now!", "call 0900-99 NOW"),
        ("won £1,000", "won €500"),
        ("it's  ok\tthen", "its ok\n then..."),
        ("STRASSE", "straße"),
        ("cafe\u0301", "café"),
        ("Ｆｒｅｅ", "free"),
        ("call ٠١٢ now", "call 345 now"),
        ("see you \u200bthere\u00a0", "see you there"),
        ("love ❤\ufe0f", "love ❤"),
        ("“quoted” – dash", '"quoted" - dash'),
    ],
)
def test_near_duplicates(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("see you there", "see you here"),
        ("great 👍", "great 👎"),
        ("great 👍", "great"),
        ("cafe", "café"),
        ("привет", "пока"),
        ("你好", "再见"),
        ("!!!", "???"),
        ("1234", "5678"),
        (":)", ":("),
    ],
)
def test_different_messages(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_a_text_of_which_nothing_would_be_left_stays_itself() -> None:
    assert normalise("?!") == "?!"
    assert normalise("10 - 12") == "10 - 12"


def test_result_can_be_read() -> None:
    assert normalise("WINNER!! Claim £900 by 5pm 🎉") == "winnerclaimbypm🎉"


def test_plain_ascii_is_levelled_as_all_other_text_is() -> None:
    every = "".join(map(chr, range(128)))
    assert normalise(f"{every}é") == f"{normalise(every)}é"
    assert normalise(every) == "abcdefghijklmnopqrstuvwxyz" * 2
