"""Reads from the source what an expression says, without running it.

Values that are known only when the program runs stand as ‹name›, what is said only sometimes in [brackets], and two
wordings of one place as (one | other).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

MOST_STEPS = 8  # names and functions between an error and the words that it is raised with

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """A module's syntax tree, and the others of its project by their names."""

    name: str
    tree: ast.Module
    others: Mapping[str, Module] = field(repr=False)

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Its functions and methods by their names."""
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, Function)}

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """What its imports are called: the module, and the name there."""
        return {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }

    def find(self, name: str) -> tuple[Module, str]:
        """Returns the module that defines a name, and what it is called there."""
        module, own = self.imported.get(name, ("", ""))
        return self.others[module].find(own) if module in self.others else (self, name)


@dataclass(frozen=True)
class Scope:
    """Where an expression stands: its module, its function if it is in one, and how far it is from the error."""

    module: Module
    function: Function | None = None
    steps: int = 0

    def deeper(self, module: Module, function: Function | None) -> Scope:
        """Returns the scope of what this one names or calls."""
        return Scope(module, function, self.steps + 1)

    def values_of(self, name: ast.Name) -> list[tuple[ast.expr, Scope]]:
        """Returns what a name may stand for: what its function, or else a module, assigns to it."""
        if self.steps >= MOST_STEPS:
            return []
        if self.function is not None:
            values = _assigned(self.function, name)
            if values or name.id in _parameters(self.function):
                return [(value, self.deeper(self.module, self.function)) for value in values]
        module, own = self.module.find(name.id)
        scope = self.deeper(module, None)
        return [(value, scope) for node in module.tree.body for value in _value(node, own)]


def _parameters(function: Function) -> list[str]:
    given = function.args
    return [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def _assigned(function: Function, name: ast.Name) -> list[ast.expr]:
    """Returns what a function assigns to a name before it is used: where that is certain, the last of it alone."""
    found: list[ast.expr] = []
    for block in _blocks(function):
        given = [list(_value(node, name.id)) for node in block if node.lineno < name.lineno]
        last = next((values for values in reversed(given) if values), [])
        if last and block[0].lineno <= name.lineno <= (block[-1].end_lineno or 0):
            return last
        found += [value for values in given for value in values]
    return found


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yields the lists of statements in a function, the innermost first."""
    for child in ast.iter_child_nodes(node):
        yield from _blocks(child)
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block:
            yield block


def _value(node: ast.stmt, name: str) -> Iterator[ast.expr]:
    """Yields what an assignment gives to a name; of `a, b = c, d` what is about it."""
    if isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name) and node.target.id == name:
        yield node.value
    if isinstance(node, ast.Assign):
        yield from _given(node.targets[-1], node.value, name)


def _given(target: ast.expr, value: ast.expr, name: str) -> Iterator[ast.expr]:
    match target, value:
        case ast.Name(id=own), _:
            yield from [value] if own == name else []
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for one, other in zip(targets, values, strict=False):
                yield from _given(one, other, name)
        case ast.Tuple(), ast.IfExp(body=body, orelse=orelse):
            yield from _given(target, body, name)
            yield from _given(target, orelse, name)


# -- sentences and their parts ------------------------------------------------------------------------------------


def wordings(node: ast.expr, scope: Scope) -> list[str]:
    """Returns the sentences that an expression may be: none if it only passes on what others say."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(parts) for parts in product(*(_parts(value, scope) for value in values))]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [one + other for one in wordings(left, scope) for other in wordings(right, scope)]
        case ast.IfExp(body=body, orelse=orelse):
            return [*wordings(body, scope), *wordings(orelse, scope)]
        case ast.BoolOp(values=values):
            return [text for value in values for text in wordings(value, scope)]
        case ast.Name():
            found = [text for value, place in scope.values_of(node) for text in wordings(value, place)]
            return list(dict.fromkeys(found))
        case ast.Call(func=ast.Attribute(value=ast.JoinedStr() as text)):  # "…".rstrip()
            return wordings(text, scope)
        case ast.Attribute(attr=name):
            return [text for value, place in _given_as(name, scope) for text in wordings(value, place)]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self"), attr=name)) if (
            scope.steps < MOST_STEPS
        ):
            module, own = scope.module.find(name)
            function = module.functions.get(own)
            return returned(function, scope.deeper(module, function)) if function else []
    return []


def _given_as(name: str, scope: Scope) -> Iterator[tuple[ast.expr, Scope]]:
    """Yields what the modules beside this one give to an attribute by its name."""
    if scope.steps >= MOST_STEPS:
        return
    folder = scope.module.name.rpartition(".")[0]
    for module in [each for each in scope.module.others.values() if each.name.rpartition(".")[0] == folder]:
        for function in module.functions.values():
            for node in ast.walk(function):
                if isinstance(node, ast.keyword) and node.arg == name:
                    yield node.value, scope.deeper(module, function)


def returned(function: Function, scope: Scope) -> list[str]:
    """Returns the sentences that a function may return."""
    returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
    returns.sort(key=lambda value: value.lineno)  # `walk` goes level by level
    return [text for value in returns for text in wordings(value, scope)]


def _parts(node: ast.expr, scope: Scope) -> list[str]:
    """Returns the forms of a part of a sentence: its words, or a placeholder."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    value, quoted = node, False
    if isinstance(node, ast.FormattedValue):
        value, quoted = node.value, node.conversion == ord("r")
    known = _known(value, scope)
    if known is not None:
        return [repr(known)] if quoted else [f"{known:,}"] if isinstance(known, int) else [str(known)]
    match value:
        case ast.IfExp(body=body, orelse=orelse):
            return [_either(_parts(body, scope)[0], _parts(orelse, scope)[0])]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mult()):  # 's' * (number != 1)
            return [_either(text, "")]
        case ast.Subscript(value=named, slice=ast.Constant(value=str(field))) if _word(named) == "options":
            return [f"--data.{field}"]  # as training calls it
        case ast.Name() | ast.JoinedStr():
            found = wordings(value, scope)
            if found:
                return [_either(*found)] if len(found) == 2 else found
    return [f"'{placeholder(value)}'" if quoted else placeholder(value)]


def _either(one: str, other: str) -> str:
    """Joins two forms."""
    if one == other:
        return one
    return f"({one} | {other})" if one and other else f"[{one or other}]"


def _known(node: ast.expr, scope: Scope) -> int | float | str | None:
    """Returns the value of a constant, if it is written out in the source."""
    if isinstance(node, ast.Name) and node.id.isupper():
        values = [_known(value, place) for value, place in scope.values_of(node)]
        return values[-1] if values else None
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, int | float | str) else None


def placeholder(node: ast.expr) -> str:
    """Returns what stands for a value that is known only when the program runs."""
    return f"‹{_word(node)}›"


def _word(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name.strip("_").replace("_", " ").lower()
        case ast.Attribute(value=ast.Name(id=name), attr="name" | "strerror") if name != "self":
            return _word(ast.Name(name))
        case ast.Attribute(attr=name):
            return _word(ast.Name(name))
        case ast.Call(func=ast.Name(id="len"), args=[counted]):
            return f"number of {_word(counted)}"
        case ast.Call(func=ast.Name(id="getattr")):
            return "value"
        case ast.Call(func=ast.Name(id="map"), args=[_, mapped, *_]):
            return _word(mapped)
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.Constant):
            return _word(first)
        case ast.Call(func=ast.Attribute(value=value)):
            return _word(value)
        case ast.Call(func=called):
            return _word(called)
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Await(value=value):
            return _word(value)
        case ast.FormattedValue(value=value):
            return _word(value)
        case ast.BinOp(left=left, right=right):
            return _word(right if isinstance(left, ast.Constant) else left)
        case ast.GeneratorExp(elt=element) | ast.ListComp(elt=element):
            return _word(element)
        case ast.BoolOp(values=[first, *_]):
            return _word(first)
        case ast.JoinedStr(values=values):
            return next((_word(value) for value in values if not isinstance(value, ast.Constant)), "…")
    return "…"
