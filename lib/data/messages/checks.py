"""Looks for what spoils a classifier before anything is trained, and says it: a sentence for each finding.

The step `messages` and `finetune inspect` use the same checks. They look at labels with their rows, and at texts by
their hashes, so that memory does not grow with the length of the texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.duplicates import normalise
from lib.data.messages.alike import Alike
from lib.data.messages.labels import shown, with_counts
from lib.errors import listed

Hashes = npt.NDArray[np.int64]

MANY_COPIES = 0.1  # share of rows that repeat another's text, from which on it is worth a sentence
FEW_ROWS = 10  # a label with fewer can hardly be learned, and not be measured
IMBALANCE = 10  # times that the largest class has the rows of the smallest
EXAMPLES = 3  # groups of rows in a sentence
SHARED_PARTS = 2  # joined labels that a part must occur in to be taken for a label
JOINERS = ("|", ";", ",", "/", "+", "&")
RATINGS = range(3, 12)  # how many whole numbers in a row look like stars, or like the numbers of classes

_NUMBER = re.compile(r"[+-]?\d{1,3}(\.0*)?")
_LIST = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)


def alike_in_memory(texts: Collection[str], labels: Sequence[str], numbers: Sequence[int]) -> Alike:
    """Finds what `find_alike` finds among rows that are in memory. numbers: those of the rows in the source."""
    exact = np.fromiter(map(hash, texts), np.int64, len(texts))
    near = np.fromiter(map(hash, map(normalise, texts)), np.int64, len(texts))
    found = _contradictions(exact, pd.factorize(np.asarray(labels, object))[0])
    return Alike(
        copies=len(exact) - len(np.unique(exact)),
        near=len(near) - len(np.unique(near)),
        contradicting=len(found),
        examples=[(numbers[one], numbers[other]) for one, other in found[:EXAMPLES]],
    )


def _contradictions(texts: Hashes, labels: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    """Returns of each text with several labels the first row, and the first with another label, in their order."""
    order = np.lexsort((labels, texts))  # stable: of equal texts and labels the first row comes first
    rows = pd.DataFrame({"text": texts[order], "label": labels[order], "place": order})
    one_of_each = rows.drop_duplicates(["text", "label"])
    several = one_of_each[one_of_each.duplicated("text", keep=False)].sort_values(["text", "place"])
    pairs = several.groupby("text").head(2)["place"].to_numpy().reshape(-1, 2)
    return sorted((int(one), int(other)) for one, other in pairs)


def label_warnings(counts: Mapping[str, int]) -> list[str]:
    """Returns what is to be said of labels and their rows."""
    found = (_on_joined(counts), _on_numbers(counts), _on_few_rows(counts), _on_imbalance(counts))
    return [sentence for sentence in found if sentence]


def text_warnings(alike: Alike, rows: int) -> list[str]:
    """Returns what is to be said of repeated texts among so many rows."""
    found = (_on_contradictions(alike), _on_copies(alike, rows))
    return [sentence for sentence in found if sentence]


def left_out_warnings(reasons: Mapping[str, int], used: int) -> list[str]:
    """Says how many rows are left out, by reason; nothing if there are none."""
    total = sum(reasons.values())
    if not total:
        return []
    phrases = listed(f"{reason} {count:,}" for reason, count in Counter(reasons).most_common())
    return [
        f"{total:,} of {total + used:,} rows {'are' if total != 1 else 'is'} left out ({phrases}): left_out.parquet"
        f" names {'each' if total != 1 else 'it'}"
    ]


def message_warnings(labels: Mapping[str, int], alike: Alike, left_out: Mapping[str, int]) -> list[str]:
    """Returns all that is to be said of messages. labels: rows by label. left_out: rows of the source that are no
    messages, by reason."""
    rows = sum(labels.values())
    return [*left_out_warnings(left_out, rows), *label_warnings(labels), *text_warnings(alike, rows)]


def _on_contradictions(alike: Alike) -> str | None:
    many = alike.contradicting
    if not many:
        return None
    more = [f"and {many - EXAMPLES:,} more"] if many > EXAMPLES else []
    examples = " ".join([", ".join(f"{one} and {other}" for one, other in alike.examples), *more])
    return (
        f"{many:,} text{'s stand' if many != 1 else ' stands'} there with different labels (rows {examples}; counted"
        " from 0): one of each pair is wrong, which bounds the accuracy that any model can reach"
    )


def _on_copies(alike: Alike, rows: int) -> str | None:
    if alike.near < MANY_COPIES * rows:
        return None
    more = alike.near - alike.copies
    exactly = f", {alike.copies:,} of them exactly" if more and alike.copies else ""
    but = f" but for case, digits, punctuation and space{exactly}" if more else ""
    return f"{alike.near:,} of {rows:,} rows repeat the text of another{but}: they tell less than their number"


def _on_few_rows(counts: Mapping[str, int]) -> str | None:
    few = {label: count for label, count in counts.items() if count < FEW_ROWS}
    if not few:
        return None
    one = len(few) == 1
    return (
        f"{f'{len(few):,} labels have' if not one else 'a label has'} fewer than {FEW_ROWS} rows, too few to be learned"
        f" and measured: {with_counts(few)}; give more, merge {'it' if one else 'them'} with data.labels or"
        f" data.rare_labels, or leave {'it' if one else 'them'} out"
    )


def _on_imbalance(counts: Mapping[str, int]) -> str | None:
    if len(counts) < 2:
        return None
    (largest, most), *_, (smallest, least) = Counter(counts).most_common()
    if most < IMBALANCE * least:
        return None
    rows = sum(counts.values())
    share = most / rows
    return (
        f"{share:.1%} of the rows are {shown(largest)}, and {shown(smallest)} has {least:,} of {rows:,}:"
        f" always answering {shown(largest)} would be {share:.1%} accurate, so look at the recall of each label;"
        " balance.method can even the classes out"
    )


def _on_numbers(counts: Mapping[str, int]) -> str | None:
    if not all(map(_NUMBER.fullmatch, counts)):
        return None
    numbers = sorted(int(float(label)) for label in counts)
    if len(numbers) not in RATINGS or numbers != list(range(numbers[0], numbers[-1] + 1)):
        return None
    return (
        f"the labels are the numbers {numbers[0]} to {numbers[-1]}, and are learned as names without an order: if they"
        " are ratings, being off by one counts as much as being off by more; if they stand for names, data.labels can"
        " give them these"
    )


def _on_joined(counts: Mapping[str, int]) -> str | None:
    lists = {label: count for label, count in counts.items() if _LIST.fullmatch(label)}
    joined, written = (lists, "look like lists") if len(lists) > len(counts) / 2 else _joined(counts)
    if not joined:
        return None
    return (
        f"{len(joined):,} of {len(counts):,} labels {written}: {with_counts(joined)}; one label a text is what is"
        " learned here, so each combination is a class of its own"
    )


def _joined(counts: Mapping[str, int]) -> tuple[dict[str, int], str]:
    """Returns the labels that join others with one character, and how."""
    for joiner in JOINERS:
        parts = {label: [part.strip() for part in label.split(joiner)] for label in counts if joiner in label}
        shared = Counter(part for several in parts.values() for part in several)
        known = {part for part in shared if part in counts or shared[part] >= SHARED_PARTS}
        joined = {label: counts[label] for label, several in parts.items() if known.issuperset(several)}
        if any(part in counts for label in joined for part in parts[label]):
            return joined, f"join others with {joiner!r}"
    return {}, ""
