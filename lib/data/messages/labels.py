"""Settles the labels of a data set: trims, renames, merges and drops them, and refuses several spellings of one label.

All is decided on the labels and their counts, before any row is touched. Labels that look alike are never trained as
several classes in silence: a hand-made file has 'spam', 'Spam' and 'spam ', and a column that once had a hole has '1.0'
where another has '1'.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from lib.errors import LabelError, listed
from lib.files.yaml_text import parse_yaml

# Why a row is left out.
EMPTY_LABEL, UNNAMED_LABEL, RARE_LABEL = "empty label", "label not in data.labels", "rare label"

LONGEST_SHOWN = 40  # characters of a label in a sentence
MOST_SHOWN = 5  # labels in a sentence
MOST_GROUPS = 20  # of spellings that a sentence's advice merges
FEWEST = 2  # labels of a classifier

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # beside the spaces that `\s` knows
_AROUND = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_PLAIN_WORDS = re.compile(r"[A-Za-z]\w*( \w+)*")
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0*")

Names = Mapping[str, Sequence[str]] | Sequence[str] | None


@dataclass(frozen=True)
class LabelRules:
    """What becomes of labels.

    names: None: every label is a class, in alphabetical order. A mapping of names to spellings: these are renamed, so
        that several are merged; labels that it does not name stay; its names come first in the order of the classes. A
        list of names: these are the classes, in this order; rows with other labels are left out.
    rare: what becomes of a label with fewer rows than `rare_count`: an error, its rows are left out, or it is merged
        with the other rare ones into `rare_name`.
    """

    names: Names = None
    rare: Literal["error", "drop", "merge"] = "error"
    rare_count: int = 1
    rare_name: str = "other"


@dataclass(frozen=True)
class Settled:
    """What becomes of each label as written: `becomes` has its new name, or `leaves` the reason why its rows leave.

    labels: the names in the order of their targets. warnings: sentences about what was changed.
    """

    becomes: Mapping[str, str]
    leaves: Mapping[str, str]
    labels: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)


@lru_cache(maxsize=4096)  # a data set has many rows of few labels
def trimmed(label: str) -> str:
    """Returns the label without spaces (no-break ones too) and invisible characters around it."""
    return _AROUND.sub("", label)


def settle(
    train: Mapping[str, int],
    rules: LabelRules,
    *,
    given: Mapping[str, int] = MappingProxyType({}),
    where: str,
) -> Settled:
    """Decides what becomes of the labels in `train`, what is divided and learned from, and in `given`, splits that
    exist already: rows by label, none of them empty. `where` is what errors call the source.

    Raises LabelError if a name of `rules.names` has no rows, if labels differ only in case, spaces or the way a number
    is written (unless `rules.names` names each), if a label is rare and that is an error, or if only one is left.
    """
    together = Counter(train) + Counter(given)
    tidy = {label: trimmed(label) for label in together}
    renamed, leaves = _renamed(tidy, rules.names)
    counts = _counted(train, renamed)
    _require_named(rules.names, _counted(train, {**tidy, **renamed}), where)
    _require_one_spelling(_counted(together, renamed), rules.names, where)
    rare = {label: count for label, count in counts.items() if count < rules.rare_count}
    warnings = [*_on_trimmed(together, tidy), *_on_unnamed(together, leaves)]
    if rare:
        _require_none_rare(rare, counts, rules, where)
        warnings.append(_on_rare(rare, rules))
        for label in [label for label, name in renamed.items() if name in rare]:
            if rules.rare == "merge":
                renamed[label] = rules.rare_name
            else:
                del renamed[label]
                leaves[label] = RARE_LABEL
    counts = _counted(train, renamed)
    _require_two(counts, where)
    first = [name for name in rules.names or () if name in counts]
    return Settled(renamed, leaves, (*first, *sorted(counts.keys() - set(first))), warnings)


def spelling(label: str) -> str:
    """Returns what labels have in common that differ only in case, width, spaces, or as '1' and '1.0' do."""
    plain = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    whole = _WHOLE_FLOAT.fullmatch(plain)
    return whole.group(1) if whole else plain


def same_but_for_spelling(labels: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Returns which of `labels` each of `others` stands for, if they are the same classes in other spellings, one to
    one; nothing if they are not."""
    labels, others = set(labels), set(others)
    by_spelling = {spelling(label): label for label in labels}
    stands_for = {other: by_spelling[spelling(other)] for other in others if spelling(other) in by_spelling}
    return stands_for if len(labels) == len(others) == len(set(stands_for.values())) else {}


def mapping_flag(field: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Returns the option that gives each name its list, as one would type it."""
    pairs = (f"{_in_yaml(name)}: [{', '.join(map(_in_yaml, spellings))}]" for name, spellings in groups.items())
    return f"--{field} {shlex.quote('{' + ', '.join(pairs) + '}')}"


def _in_yaml(label: str) -> str:
    """Writes a label as YAML reads it back: as it stands where that is text, otherwise in double quotes."""
    is_text = _PLAIN_WORDS.fullmatch(label) and parse_yaml(label) == label
    return label if is_text else json.dumps(label, ensure_ascii=False)


def shown(label: str) -> str:
    """Returns the label in quotes, control characters escaped, shortened if it is long."""
    return repr(label if len(label) <= LONGEST_SHOWN else f"{label[: LONGEST_SHOWN - 1]}…")


def with_counts(counts: Mapping[str, int], *, most: int = MOST_SHOWN) -> str:
    """Lists labels with their rows, the most frequent first: "'spam' (62 rows), 'Spam' (22)"."""
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    unit = f" row{'s' * (counts[ordered[0]] != 1)}"
    phrases = [f"{shown(label)} ({counts[label]:,}{'' if place else unit})" for place, label in enumerate(ordered)]
    return listed(phrases, most=most)


def _renamed(tidy: Mapping[str, str], names: Names) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the name of each label as written, and why the rows of others leave."""
    if names is None:
        return dict(tidy), {}
    spellings = names if isinstance(names, Mapping) else dict.fromkeys(names, ())
    name_of = {trimmed(name): name for name in spellings}
    name_of |= {trimmed(each): name for name, several in spellings.items() for each in several}
    if isinstance(names, Mapping):
        return {label: name_of.get(tidied, tidied) for label, tidied in tidy.items()}, {}
    known = {label: name_of[tidied] for label, tidied in tidy.items() if tidied in name_of}
    return known, {label: UNNAMED_LABEL for label in tidy if label not in known}


def _counted(counts: Mapping[str, int], renamed: Mapping[str, str]) -> dict[str, int]:
    """Returns rows by new name, without those that leave."""
    total: Counter[str] = Counter()
    for label, count in counts.items():
        if label in renamed:
            total[renamed[label]] += count
    return dict(total)


def _require_named(names: Names, counts: Mapping[str, int], where: str) -> None:
    for name in names or ():
        if name not in counts:
            nearest = difflib.get_close_matches(name, counts, n=1)
            hint = f"; did you mean {shown(nearest[0])}?" if nearest else ""
            raise LabelError(
                f"{where}: data.labels names {shown(name)}, but no row to train on has that label, only"
                f" {with_counts(counts) if counts else 'others'}: correct the name or leave it out{hint}"
            )


def _require_one_spelling(counts: Mapping[str, int], names: Names, where: str) -> None:
    known = names if isinstance(names, Mapping) else dict.fromkeys(names or (), ())
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(spelling(label), []).append(label)
    several = [group for group in groups.values() if len(group) > 1 and not known.keys() >= set(group)]
    if not several:
        return
    phrases = [
        f"{with_counts({label: counts[label] for label in group}, most=len(group))}: {len(group)} spellings"
        for group in several
    ]
    called = {next((label for label in group if label in known), group[0]): group for group in several[:MOST_GROUPS]}
    merged = {name: [*dict.fromkeys([*known.get(name, ()), *group])] for name, group in called.items()}
    option = mapping_flag("data.labels", {**known, **merged})
    raise LabelError(
        f"{where} has labels that differ only in case, spaces or the way a number is written:"
        f" {'; '.join(phrases[:MOST_SHOWN])}{f'; and {len(phrases) - MOST_SHOWN} more' * (len(phrases) > MOST_SHOWN)};"
        f" merge them with {option}, or give each of them a name of its own in data.labels"
    )


def _require_none_rare(rare: Mapping[str, int], counts: Mapping[str, int], rules: LabelRules, where: str) -> None:
    if rules.rare == "error":
        swapped = len(rare) > len(counts) / 2 and len(rare) > MOST_SHOWN
        raise LabelError(
            f"{where}: {_fewer(rare, rules.rare_count)}: give more rows, leave"
            f" {'it' if len(rare) == 1 else 'them'} out with --data.rare_labels drop, or put"
            f" {'it into a class' if len(rare) == 1 else 'them into one class'} with --data.rare_labels merge"
            f"{'; or is --data.label_column another column?' if swapped else ''}"
        )
    if rules.rare == "merge":
        merged = sum(rare.values()) + (counts.get(rules.rare_name, 0) if rules.rare_name not in rare else 0)
        if merged < rules.rare_count:
            raise LabelError(
                f"{where}: {_fewer(rare, rules.rare_count)}, and {merged:,} together as"
                f" {shown(rules.rare_name)}: leave them out with --data.rare_labels drop, or give more rows"
            )


def _require_two(counts: Mapping[str, int], where: str) -> None:
    if len(counts) < FEWEST:
        only = f"every message has the label {shown(next(iter(counts)))}" if counts else "no message is left"
        raise LabelError(f"{where}: {only}: a classifier needs messages of at least two labels")


def _fewer(rare: Mapping[str, int], count: int) -> str:
    """Says which labels have fewer rows than `count`."""
    many = f"{len(rare):,} labels have" if len(rare) > 1 else f"label {shown(next(iter(rare)))} has"
    listing = f" ({with_counts(rare)})" if len(rare) > 1 else f" ({next(iter(rare.values()))})"
    return f"{many} fewer than {count:,} rows{listing}"


def _on_trimmed(counts: Mapping[str, int], tidy: Mapping[str, str]) -> Iterator[str]:
    changed = {label: counts[label] for label, tidied in tidy.items() if tidied != label}
    if changed:
        rows = sum(changed.values())
        yield (
            f"{rows:,} label{'s were' if rows != 1 else ' was'} written with spaces or invisible characters around"
            f" {'them' if rows != 1 else 'it'}, which are trimmed: {with_counts(changed)}"
        )


def _on_unnamed(counts: Mapping[str, int], leaves: Mapping[str, str]) -> Iterator[str]:
    unnamed = {label: counts[label] for label in leaves}
    if unnamed:
        rows = sum(unnamed.values())
        yield (
            f"{rows:,} row{'s' * (rows != 1)} with labels that data.labels does not name"
            f" {'are' if rows != 1 else 'is'} left out: {with_counts(unnamed)}"
        )


def _on_rare(rare: Mapping[str, int], rules: LabelRules) -> str:
    one = len(rare) == 1
    fate = f"merged into {shown(rules.rare_name)}" if rules.rare == "merge" else "left out"
    return f"{_fewer(rare, rules.rare_count)} and {'is' if one else 'are'} {fate}"
