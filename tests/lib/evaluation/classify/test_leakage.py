"""Copies between splits against a comparison of all pairs, with plain sets of n-grams."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.data.duplicates import normalise
from lib.evaluation.classify import grams, leakage
from lib.evaluation.classify.grams import candidates, cosines, grams_of, nearest
from lib.evaluation.classify.leakage import NEAR, Copy, copies_by_grams, copies_by_keys, leaks, without_copies
from lib.evaluation.classify.mistakes import Neighbour, confident_mistakes, most_confident
from tests.support.keyed import keyed_splits

WORDS = re.findall(
    "[a-z]+",
    "call claim prize now free cash home lunch you are see late sorry meet today tomorrow card parcel code account text"
    " reply stop win urgent bank please check train station morning evening dinner party movie ticket",
)


def n_grams(text: str) -> set[str]:
    padded = normalise(text) + "\0" * (grams.LENGTH - 1)
    return {padded[place : place + grams.LENGTH] for place in range(len(normalise(text)))}


def cosine(one: str, other: str) -> float:
    return of_sets(n_grams(one), n_grams(other))


def of_sets(first: set[str], second: set[str]) -> float:
    return float(len(first & second) / np.sqrt(len(first) * len(second)))


def sentences(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 25))) for _ in range(count)]


def edited(texts: list[str], seed: int) -> list[str]:
    """Each text with some words replaced, so that cosines of all sizes occur."""
    generator = np.random.default_rng(seed)
    changed = []
    for text in texts:
        words = text.split()
        for _ in range(generator.integers(0, 4)):
            words[generator.integers(len(words))] = str(generator.choice(WORDS))
        changed.append(" ".join(words))
    return changed


def test_every_near_copy_is_found_and_no_other() -> None:
    train = sentences(120, seed=0)
    test = edited(train, seed=1) + sentences(30, seed=2)
    (leak,) = copies_by_grams({"train": train, "test": test})
    sets = [n_grams(text) for text in train]
    highest = [max(of_sets(n_grams(text), other) for other in sets) for text in test]
    right = {row for row in range(150) if highest[row] >= NEAR - 1e-9}
    found = {each.row: each for each in leak.copies}
    assert found.keys() <= right
    assert len(found) >= 0.98 * len(right) > 40
    for row, each in found.items():
        assert each.cosine == pytest.approx(cosine(test[row], train[each.of]))
        assert each.exact == (test[row] in train)
    assert leak.exact == sum(text in train for text in test)


def test_case_digits_and_punctuation_do_not_hide_a_copy() -> None:
    train = ["Call 0800-123 NOW to claim!", "see you", "ok"]
    (leak,) = copies_by_grams({"train": train, "test": ["call 0900 99 now to claim", "lunch?", "ok", "OK."]})
    assert leak.copies == (Copy(0, 0, 1.0, exact=False), Copy(2, 2, 1.0, exact=True), Copy(3, 2, 1.0, exact=False))
    assert without_copies(4, leak).tolist() == [False, True, False, False]


def test_keys_find_the_same_copies_but_for_those_with_other_words(tmp_path: Path) -> None:
    texts = {
        "train": ["Call 0800-123 NOW to claim!", "see you", "ok", "ok", "a b c d"],
        "validation": ["e f g h", "a b c d", "see you"],
        "test": ["call 0900 99 now to claim", "lunch?", "ok", "OK.", "e f g h", "see you"],
    }
    frames = {
        name: pd.DataFrame({"id": range(len(each)), "text": each, "label": "ham"}) for name, each in texts.items()
    }
    splits = keyed_splits(frames, tmp_path)
    assert copies_by_keys(splits) == copies_by_grams(texts)
    assert copies_by_keys(splits)[1].exact == 2


def test_each_split_is_looked_for_in_those_before_it() -> None:
    found = copies_by_grams(
        {"train": ["a b c d"], "validation": ["a b c d", "e f g h"], "test": ["e f g h", "i j k l", ""]}
    )
    assert [(each.split, each.source, [copy.row for copy in each.copies]) for each in found] == [
        ("validation", "train", [0]), ("test", "train", []), ("test", "validation", [0]),
    ]  # fmt: skip
    assert without_copies(3, found[1], found[2]).tolist() == [False, True, True]
    assert (
        copies_by_grams({"train": [], "test": []})[0].copies
        == copies_by_grams({"train": [], "test": ["a"]})[0].copies
        == ()
    )


def test_work_does_not_grow_with_the_pairs() -> None:
    """A thousand copies of one template on either side are a million pairs."""
    template = "congratulations you have won a free ticket to the party call {} now"
    both = grams_of([template.format(word) for word in WORDS * 30])
    rows, _ = candidates(both, both)
    assert len(rows) <= len(both) * grams.BANDS * grams.MOST_CANDIDATES


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(50, seed=5)
    whole = grams_of(texts)
    monkeypatch.setattr(grams, "CHUNK", 64)
    parts = grams_of(texts)
    assert (whole.bands == parts.bands).all()
    assert (whole.sets != parts.sets).nnz == 0
    rows = np.arange(50)
    assert cosines(whole, rows, parts, rows) == pytest.approx(np.ones(50))


def test_the_nearest_are_those_of_all_pairs() -> None:
    train, queries = sentences(200, seed=0), sentences(10, seed=9)
    for query, found in zip(queries, nearest(grams_of(queries), grams_of(train), 3), strict=True):
        right = sorted((cosine(query, text) for text in train), reverse=True)[:3]
        assert [value for _, value in found] == pytest.approx(right)
        assert [cosine(query, train[row]) for row, _ in found] == pytest.approx(right)


def test_the_surest_mistakes_come_first_beside_what_they_resemble() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    texts = ["free prize", "home at noon", "see you at lunch", "zzzz"]
    targets, given = np.zeros(4, np.int64), probabilities.argmax(axis=1)
    rows = most_confident(targets, given, probabilities, most=2)
    found = confident_mistakes(
        rows, [texts[row] for row in rows], targets, given, probabilities, ["see you", "at lunch", "prize"]
    )
    assert [(each.row, each.target, each.given, each.probability) for each in found] == [(1, 0, 1, 0.8), (2, 0, 1, 0.7)]
    assert [each.row for each in found[1].neighbours] == [1, 0]
    assert found[1].neighbours[0] == Neighbour(1, found[1].neighbours[0].cosine)
    assert found[1].neighbours[0].cosine == pytest.approx(cosine(texts[2], "at lunch"))
    assert most_confident(given, given, probabilities).tolist() == []


def test_n_grams_are_compared_of_messages_that_are_neither_too_many_nor_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "lunch at noon today with everybody from the new office"
    frame = pd.DataFrame({"id": [0, 1], "text": [text, f"{text}s"], "label": "ham"})
    splits = keyed_splits({"train": frame.head(1), "test": frame.tail(1)}, tmp_path)
    assert [len(leak.copies) for leak in leaks(splits)] == [1]
    for name, most in (("MOST_COMPARED", 1), ("MOST_BYTES", 2 * len(text))):
        with monkeypatch.context() as limited:
            limited.setattr(leakage, name, most)
            assert leakage.too_many_for_grams(splits)
            assert [len(leak.copies) for leak in leaks(splits)] == [0]  # their keys differ
