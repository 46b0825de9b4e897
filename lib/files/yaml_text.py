"""Parses YAML that nobody vouches for: recipes, flags, what a hub says of a data set, what describes a model.

Its size, depth and number of values are limited before anything is expanded, and a scalar is text unless it is written
as YAML and Python both write a number: 2024-01-01, 007, 1_000, 1:30 and 1.10 stay as they stand there.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import yaml

MOST_CHARACTERS = 2**20  # of a text; recipes have a few thousand
DEEPEST = 32  # brackets and indentations in one another; a recipe needs four
MOST_VALUES = 100_000  # once each alias is replaced by what it stands for
LONGEST_QUOTE = 60  # characters of a scalar in an error

_TAG = "tag:yaml.org,2002:"
_MERGE, _TEXT, _SWITCH = f"{_TAG}merge", f"{_TAG}str", f"{_TAG}bool"
_NUMBERS = {f"{_TAG}int": int, f"{_TAG}float": float}
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")  # what a value may be


class YamlError(Exception):
    """Why a text is no YAML, or more than is read; `line`, counted from 1, where there is one."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def parse_yaml(text: str) -> Any:
    """Returns the text's value: None, booleans, numbers, texts, lists and dictionaries. Raises YamlError."""
    if len(text) > MOST_CHARACTERS:
        raise YamlError(f"it has {len(text):,} characters, and {MOST_CHARACTERS:,} are the most that are read")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise YamlError(problem, mark.line + 1 if mark else None) from None


class _Loader(yaml.SafeLoader):
    """A YAML loader with limits that refuses duplicate keys and invalid scalars. Keys are names, so they are text as it
    is written: a label may be called 1.0, true or null."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values: dict[int, int] = {}  # by node: how many values it is once its aliases are replaced

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        """Returns the next node; refuses what is too deep, too much, or has itself inside."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refused(f"values stand more than {DEEPEST} deep in one another", mark)
        node = super().compose_node(parent, index)
        assert node is not None, "a document, which is empty, is asked for before its node is"
        self._depth -= 1
        if is_alias and id(node) not in self._values:
            raise _refused("an alias stands inside of what it stands for", mark)
        if not is_alias:
            self._values[id(node)] = 1 + sum(self._values[id(inner)] for inner in _inside(node))
        if self._values[id(node)] > MOST_VALUES:
            raise _refused(f"it stands for more than {MOST_VALUES:,} values, the most that are read", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Returns a mapping; refuses one with the same key twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refused(f"{_quoted(key.value)} stands there twice", key.start_mark)
                seen.add(key.value)
                if key.tag != _MERGE:
                    key.tag = _TEXT
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Returns the node's value; refuses a scalar that is not what its tag says, and half a character."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{_quoted(str(node.value))} is no {kind}: correct it, or put it in quotes"
            raise _refused(problem, node.start_mark) from error
        if isinstance(value, str):
            with suppress(UnicodeEncodeError):
                value.encode()
                return value
            raise _refused(f"{_quoted(ascii(value))} has half a character: write it whole", node.start_mark)
        return value

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Returns the tag of a node without one: a number only where it is written as Python writes it, so that nothing
        that is written is lost where it turns out to be a name."""
        tag = str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        number = _NUMBERS.get(tag)
        if number is None or kind is not yaml.ScalarNode:
            return tag
        with suppress(ValueError):
            if str(number(value)) == value:
                return tag
        return _TEXT


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refused(problem: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)


def _quoted(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"


# In YAML 1.1, PyYAML's version, yes, no, on and off are booleans, and dates and = are values; here they are words.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_SWITCH, f"{_TAG}timestamp", f"{_TAG}value")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_SWITCH, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))
_ALLOWED: set[Hashable] = {None, *(f"{_TAG}{kind}" for kind in _KINDS)}  # None: what refuses any other tag
_Loader.yaml_constructors = {
    tag: constructor for tag, constructor in yaml.SafeLoader.yaml_constructors.items() if tag in _ALLOWED
}
