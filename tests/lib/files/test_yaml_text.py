"""YAML that nobody vouches for: what is too much is refused before it is expanded, and what is written is kept."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from lib.files.yaml_text import DEEPEST, MOST_CHARACTERS, MOST_VALUES, YamlError, parse_yaml

# Nine levels of nine aliases each: 9^9 values, some 3 GB, from 400 characters.
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(text: str) -> str:
    with pytest.raises(YamlError) as refused:
        parse_yaml(text)
    return f"{refused.value}"


@pytest.mark.parametrize("merged", ["", "<<: [*a, *b]\n", "<<: *b\n"])
def test_an_alias_bomb_is_counted_and_not_expanded(merged: str) -> None:
    bomb = BOMB.replace("[x,x,x,x,x,x,x,x,x]", "{x: 1}") + merged
    assert refusal(bomb) == f"it stands for more than {MOST_VALUES:,} values, the most that are read"


def test_a_bomb_takes_no_memory() -> None:
    code = (
        f"from lib.files.yaml_text import parse_yaml, YamlError\ntry: parse_yaml({BOMB!r})\nexcept YamlError: print(1)"
    )

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limited)
    assert (found.stdout, found.stderr) == ("1\n", "")


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("[{a: [", "]}]")])
def test_brackets_without_end_are_refused(opens: str, closes: str) -> None:
    assert refusal(opens * 5000 + closes * 5000) == f"values stand more than {DEEPEST} deep in one another"


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "a: &a [{b: [1, *a]}]"])
def test_an_alias_inside_of_what_it_stands_for(text: str) -> None:
    assert refusal(text) == "an alias stands inside of what it stands for"


def test_a_text_without_end() -> None:
    assert (
        refusal("#" * (MOST_CHARACTERS + 1)) == "it has 1,048,577 characters, and 1,048,576 are the most that are read"
    )


def test_aliases_and_merges_that_are_meant() -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: [*a, *a]\n"
    assert parse_yaml(text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}


@pytest.mark.parametrize(
    "written",
    [
        *("2024-01-01", "2024-01-01 10:00:00", "2020-13-45", "no", "on", "1e3", "007", "1_000", "0x10", "0b1", "1:30"),
        *("1.10", ".inf", ".nan", "+1", "1.", "9" * 5000, "=", "0b_", "5.0e-5"),
    ],
)
def test_what_only_looks_like_a_value_is_text(written: str) -> None:
    assert parse_yaml(f"[{written}]") == [written]


@pytest.mark.parametrize(
    ("written", "value"),
    [("3", 3), ("-3", -3), ("0.5", 0.5), ("1.0", 1.0), ("true", True), ("False", False), ("null", None), ("~", None)],
)
def test_values(written: str, value: object) -> None:
    (found,) = parse_yaml(f"[{written}]")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "kind", ["binary aGk=", "set {a, b}", "omap [a: 1]", "timestamp 2024-01-01", "python/name:os x"]
)
def test_other_kinds_of_values_are_not_read(kind: str) -> None:
    assert refusal(f"a: !!{kind}").startswith("could not determine a constructor for the tag")


def test_half_a_character() -> None:
    assert refusal('a: "\\ud83d"') == "'\\ud83d' has half a character: write it whole"
