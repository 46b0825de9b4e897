"""What the documentation reads from the source: sentences, without running what says them."""

from __future__ import annotations

import ast

import pytest

from docs.sentences import CARRIED, WARNING, Sentence, Source
from docs.wordings import Module, Scope, wordings

WORDS = """
MOST, NAMED = 1_000, "data.csv"


def said(name, rows, hint, error):
    what = f"{name} is short"
    often = "often" if rows else "never"
    return RESULT


def worded(path):
    if path:
        return f"see {path}"
    return "look around"
"""


@pytest.mark.parametrize(
    ("expression", "sentences"),
    [
        ("'as it is'", ["as it is"]),
        ("f'{name!r} has {len(rows):,} rows'", ["'‹name›' has ‹number of rows› rows"]),
        ("f'more than {MOST:,} in {NAMED!r}'", ["more than 1,000 in 'data.csv'"]),
        ("f'row{\"s\" * (len(rows) != 1)}'", ["row[s]"]),
        ("f'at {error.strerror}, {\", \".join(map(repr, rows[:3]))}'", ["at ‹error›, ‹rows›"]),
        ('f\'{name}{f" ({hint})" if hint else ""}\'', ["‹name›[ (‹hint›)]"]),
        ('f\'{"one" if rows else "none"} left\'', ["(one | none) left"]),
        ("f'set {rows.options[\"quoting\"]}'", ["set --data.quoting"]),
        ("'one' if rows else 'none'", ["one", "none"]),
        ("'first ' + f'{name}'", ["first ‹name›"]),
        ("f'{what}: {often} so'", ["‹name› is short: (often | never) so"]),
        ("f'answered {name} '.rstrip()", ["answered ‹name› "]),
        ("worded(name)", ["see ‹path›", "look around"]),
        ("str(error)", []),
    ],
)
def test_an_expression_says(expression: str, sentences: list[str]) -> None:
    module = Module("module", ast.parse(WORDS.replace("RESULT", expression)), {})
    function = module.functions["said"]
    (returns,) = (node for node in ast.walk(function) if isinstance(node, ast.Return))
    assert returns.value is not None
    assert wordings(returns.value, Scope(module, function)) == sentences


def test_a_name_means_what_was_assigned_to_it_last() -> None:
    module = Module(
        "module",
        ast.parse(
            "def said(ill):\n    if ill:\n        a = 'ill'\n        raise E(a)\n    a = 'well'\n    raise E(a)\n"
        ),
        {},
    )
    function = module.functions["said"]
    raised = [node.args[0] for node in ast.walk(function) if isinstance(node, ast.Call)]
    assert {text for each in raised for text in wordings(each, Scope(module, function))} == {"ill", "well"}
    assert all(len(wordings(each, Scope(module, function))) == 1 for each in raised)


def test_constants_and_functions_of_other_modules_are_found() -> None:
    modules: dict[str, Module] = {}
    modules["lib.a"] = Module(
        "lib.a", ast.parse("HINT = 'again'\ndef worded(x):\n    return f'no {x}: {HINT}'\n"), modules
    )
    modules["lib.b"] = Module("lib.b", ast.parse("from lib.a import worded as w\n"), modules)
    (call,) = (node.value for node in ast.parse("w(1)").body if isinstance(node, ast.Expr))
    assert wordings(call, Scope(modules["lib.b"])) == ["no ‹x›: again"]


def test_every_kind_of_sentence_is_found() -> None:
    source = Source()
    said = source.sentences()
    assert {each.kind for each in said} == {*source.errors, WARNING}
    assert {kind for kind, _ in CARRIED.values()} <= source.errors.keys()
    for expected in (
        Sentence("RecipeError", "lib.recipes.classifier", "split.train + split.validation + split.test is ‹total›: the"
                 " three fractions must sum to 1"),
        Sentence("SourceError", "lib.data.source.download", "The source file cannot be fetched: ‹address› does not"
                 " exist; check data.url"),
        Sentence("JudgeError", "lib.evaluation.judge.servers", "The judge's server at ‹place› cut the connection: run"
                 " the judge step again later"),
        Sentence("RecipeError", "flows.store", "argument ‹flag›: '‹text›' is not an age: write hours, days or weeks as"
                 " in 12h, 30d or 8w; --help shows what there is"),
        Sentence(WARNING, "tasks.engine.prefect_cache", "‹key› is being computed by another run: waiting for it"),
    ):  # fmt: skip
        assert expected in said
