"""Finds the sentences that the program can say: what errors of `lib.errors` are raised with, and what steps warn of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from docs.wordings import Function, Module, Scope, placeholder, returned, wordings

PROJECT = Path(__file__).resolve().parents[1]
LAYERS = ("lib", "tasks", "flows")
ERRORS, BASE = "lib.errors", "FinetuneError"
WARNING = "warning"  # the kind of what only warns

# Errors of which another one is made before a user sees it, and how that one says it.
CARRIED = {
    "AddressError": ("SourceError", "The source file cannot be fetched: ‹address› {}; check data.url"),
    "AskError": ("JudgeError", "{}"),
    "AwayError": ("ServiceError", "{}"),
    "Unreadable": ("MessagesError", "{}"),  # of a row: left out, or the end of the run
    "ArgumentTypeError": ("RecipeError", "argument ‹flag›: {}; --help shows what there is"),
}
PROTOCOL = "lib.evaluation.judge.protocol"  # of AskError, which is given what happened and perhaps a remedy
VALIDATORS, VALIDATION = "lib.recipes.", ("ValueError", "ConstructorError", "PydanticCustomError")
NAMED_FIRST = ("PydanticCustomError", "Unreadable")  # a short name stands before the words
WARNERS = ("warn", "_warn", "warning")
ON = re.compile("_on_|.*_warning$")  # functions that word a warning

WORDS = re.compile(r"\w+ \w+")


@dataclass(frozen=True)
class Sentence:
    """What is said, as which kind (an error's class, or WARNING), and in which module."""

    kind: str
    module: str
    text: str


class Source:
    """The three layers, as they are written."""

    def __init__(self, project: Path = PROJECT) -> None:
        self.modules: dict[str, Module] = {}
        for layer in LAYERS:
            for file in sorted((project / layer).rglob("*.py")):
                name = ".".join(file.relative_to(project).with_suffix("").parts)
                self.modules[name] = Module(name, ast.parse(file.read_text(encoding="utf-8")), self.modules)

    @cached_property
    def errors(self) -> dict[str, ast.ClassDef]:
        """The classes of errors that a user can correct, in the order of the source."""
        classes = [node for node in self.modules[ERRORS].tree.body if isinstance(node, ast.ClassDef)]
        return {node.name: node for node in classes if [getattr(base, "id", "") for base in node.bases] == [BASE]}

    def sentences(self) -> list[Sentence]:
        """Returns all that can be said, each once, by modules."""
        found = [said for module in self.modules.values() for said in self._said(module)]
        return [said for said in dict.fromkeys(found) if WORDS.search(re.sub("‹.*?›", "", said.text))]

    def unsaid(self) -> list[tuple[str, int]]:
        """Returns modules and lines that make an error or a warning of which no words can be read."""
        return [
            (module.name, call.lineno)
            for module in self.modules.values()
            for function, call in _calls(module.tree)
            if self._kind(module, call) and not self._texts(call, Scope(module, function))
        ]

    def _said(self, module: Module) -> Iterator[Sentence]:
        for function, call in _calls(module.tree):
            kind = self._kind(module, call)
            if kind:
                for text in self._texts(call, Scope(module, function)):
                    yield Sentence(kind, module.name, text)
        for function in module.functions.values():
            if ON.match(function.name):
                for text in returned(function, Scope(module, function)):
                    yield Sentence(WARNING, module.name, text)

    def _kind(self, module: Module, call: ast.Call) -> str:
        """Returns which kind of sentence a call makes: an error's class, WARNING, or "" for none."""
        name = called(call)
        if name in WARNERS or (name == "append" and "warnings" in ast.unparse(call.func)):
            return WARNING
        if module.name.startswith(VALIDATORS) and name in VALIDATION:
            return "RecipeError"
        return name if name in self.errors else CARRIED.get(name, ("", ""))[0]

    def _texts(self, call: ast.Call, scope: Scope) -> list[str]:
        """Returns what a call that makes a sentence says."""
        name, given = called(call), [*call.args, *(each.value for each in call.keywords if each.arg == "problem")]
        if not given:
            return []
        if name in NAMED_FIRST:
            return wordings(given[1], scope)
        found = wordings(given[0], scope)
        if name == "AskError":
            again = Scope(self.modules[PROTOCOL])
            remedies = wordings(given[1], scope) if len(given) > 1 else wordings(ast.Name("AGAIN_LATER"), again)
            found = [f"{what}: {remedy}" for what in found for remedy in remedies]
        if name == "warning":  # as logging writes it: `%s` for each of the other arguments
            return [_filled(text, given[1:]) for text in found]
        return [CARRIED[name][1].format(text) for text in found] if name in CARRIED else found


def _filled(text: str, values: Sequence[ast.expr]) -> str:
    rest = iter(values)
    return re.sub("%[sd]", lambda _: placeholder(next(rest)), text)


def called(call: ast.Call) -> str:
    """Returns the last name of what is called."""
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def _calls(tree: ast.AST, function: Function | None = None) -> Iterator[tuple[Function | None, ast.Call]]:
    """Yields each call with the innermost function around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield function, node
        yield from _calls(node, node if isinstance(node, Function) else function)
