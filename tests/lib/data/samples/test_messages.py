"""The bundled sample: what it promises, and that it is neither trivial nor hopeless."""

import csv
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from lib.data.samples.messages import ARCHIVE, MEMBER, ROWS, SHA256, SPAM
from lib.evaluation.classify.baseline import fit_baseline
from tools.sample.dice import Dice
from tools.sample.generate import archive, handwritten, member
from tools.sample.noise import near_copy
from tools.sample.templates import fill

PROJECT = Path(__file__).resolve().parents[4]
DRAMA_NUMBERS = re.compile(r"07700900\d{3}|02079460\d{3}|09098790\d{3}|08081570\d{3}|03069990\d{3}")


@pytest.fixture(scope="module")
def content() -> bytes:
    with zipfile.ZipFile(ARCHIVE) as file:
        return file.read(MEMBER)


@pytest.fixture(scope="module")
def rows(content: bytes) -> list[tuple[str, str]]:
    """(label, text) of every line."""
    lines = content.decode("utf-8").removesuffix("\n").split("\n")
    return [(line.split("\t")[0], line.split("\t")[1]) for line in lines]


def normalised(text: str) -> str:
    """`text` without what near-duplicates differ in: case, digits, punctuation and space."""
    return re.sub(r"[\W\d_]+", "", text.lower()) or text


def test_regenerating_gives_the_committed_archive_byte_for_byte() -> None:
    assert archive(member()) == ARCHIVE.read_bytes()


def test_generation_does_not_depend_on_the_hash_seed_or_the_working_directory(tmp_path: Path) -> None:
    sample = "tools.sample.generate"
    code = f"import hashlib; from {sample} import member; print(hashlib.sha256(member()).hexdigest())"
    environment = {"PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "7", "PATH": ""}
    command = [sys.executable, "-c", code]
    made = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == SHA256


def test_the_archive_holds_one_member_with_the_stated_checksum(content: bytes) -> None:
    with zipfile.ZipFile(ARCHIVE) as file:
        assert file.namelist() == [MEMBER]
    assert hashlib.sha256(content).hexdigest() == SHA256


def test_every_line_is_a_label_one_tab_and_a_text(content: bytes) -> None:
    text = content.decode("utf-8")  # raises if it is not UTF-8
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        label, message = line.split("\t")
        assert label in ("ham", "spam")
        assert message.strip()
    assert len(text.splitlines()) == ROWS, "no other line separators inside the texts"


def test_counts_and_shares(rows: list[tuple[str, str]]) -> None:
    labels = Counter(label for label, _ in rows)
    assert labels == {"ham": ROWS - SPAM, "spam": SPAM}
    assert (ROWS, SPAM) == (1500, 195)
    assert round(SPAM / ROWS, 4) == 0.13


def test_several_hundred_messages_are_handwritten_and_all_of_them_are_in_the_sample(
    rows: list[tuple[str, str]],
) -> None:
    assert Counter(message.label for message in handwritten()) == {"ham": 334, "spam": 109}
    assert set(handwritten()) <= set(rows)


def test_exact_and_near_duplicates_are_present(rows: list[tuple[str, str]]) -> None:
    texts = [text for _, text in rows]
    exact = ROWS - len(set(texts))
    alike = ROWS - len({normalised(text) for text in texts})
    assert exact == 42
    assert alike - exact >= 48


def test_equal_texts_never_have_different_labels(rows: list[tuple[str, str]]) -> None:
    labels: dict[str, set[str]] = {}
    for label, text in rows:
        labels.setdefault(normalised(text), set()).add(label)
    assert [text for text, of_text in labels.items() if len(of_text) > 1] == []


def test_csv_quoting_swallows_46_rows(content: bytes) -> None:
    csv.field_size_limit(len(content))  # of the whole process: an earlier test may have lowered it
    lines = io.StringIO(content.decode("utf-8"), newline="")
    parsed = sum(1 for _ in csv.reader(lines, delimiter="\t"))
    assert parsed == ROWS - 46


def test_telephone_numbers_and_web_addresses_are_reserved_ones(rows: list[tuple[str, str]]) -> None:
    for _, text in rows:
        for number in re.findall(r"(?<![\d.,])0\d(?: ?\d){8,9}(?! ?\d)", text):
            assert DRAMA_NUMBERS.fullmatch(number.replace(" ", "")), text
        assert not re.search(r"www\.|http|\.(com|net|org|uk|sg|io)\b", text, re.IGNORECASE), text
    assert sum(".example" in text.lower() for _, text in rows) > 40


def test_spam_and_ham_use_the_same_words(rows: list[tuple[str, str]]) -> None:
    for word in ("parcel", "card ending", "free", "won", "code", "call", "new phone", "urgent", "£"):
        using = {label for label, text in rows if word in text.lower()}
        assert using == {"ham", "spam"}, word


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_baseline_is_well_above_the_majority_and_below_perfect(rows: list[tuple[str, str]], seed: int) -> None:
    texts = [text for _, text in rows]
    targets = np.array([label == "spam" for label, _ in rows], dtype=np.int64)
    train_texts, test_texts, train_targets, test_targets = train_test_split(
        texts, targets, test_size=0.3, stratify=targets, random_state=seed
    )
    train_texts, validation_texts, train_targets, validation_targets = train_test_split(
        train_texts, train_targets, test_size=0.15, stratify=train_targets, random_state=seed
    )
    baseline = fit_baseline((train_texts, train_targets), (validation_texts, validation_targets), classes=2)
    probabilities = baseline.probabilities(test_texts)
    predicted = probabilities.argmax(axis=1)
    majority = 1 - SPAM / ROWS
    assert majority + 0.06 < (predicted == test_targets).mean() < 0.99
    assert 0.6 < predicted[test_targets == 1].mean() < 0.95  # recall of spam


def test_importing_the_constants_loads_neither_the_generator_nor_yaml() -> None:
    sample = "lib.data.samples.messages"
    code = f"import sys, {sample}; print({{'yaml', 'tools.sample.generate'}} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_slots_are_filled_from_within_and_hashes_become_digits() -> None:
    slots = {"greeting": ["hi {name}"], "name": ["Mei"]}
    assert re.fullmatch(r"hi Mei, code \d\d", fill("{greeting}, code ##", slots, Dice(1)))


def test_an_unknown_slot_is_refused() -> None:
    with pytest.raises(KeyError, match="nobody"):
        fill("{nobody}", {}, Dice(1))


def test_near_copies_differ_only_in_digits_case_punctuation_or_space() -> None:
    text = "Your code is 4471. Ring 07700 900312"
    known = {text}
    for seed in range(50):
        copy = near_copy(text, known, Dice(seed))
        assert copy not in known
        assert normalised(copy) == normalised(text)
        assert "07700900" in copy.replace(" ", "")


def test_dice_repeat_themselves_on_every_machine() -> None:
    dice = Dice(160)
    drawn = [dice.below(6) for _ in range(8)], dice.shuffled("abcdef"), dice.weighted({"a": 1, "b": 3})
    assert drawn == ([0, 2, 1, 3, 4, 3, 3, 4], ["e", "f", "d", "c", "b", "a"], "b")
