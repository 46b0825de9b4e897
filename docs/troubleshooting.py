"""Writes the tables of docs/troubleshooting.md: what the program can say, by the classes of lib/errors.py.

Why an error comes and what to do about it stands in the docstring of its class, in the paragraphs `Why:` and
`What to do:`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from docs.sentences import WARNING, Sentence, Source

# Who says it, by the beginning of a module's name: the longest counts.
AREAS = {
    "flows": "The command line",
    "lib.recipes": "Recipes",
    "lib.cluster": "Other processes and machines",
    "lib.search": "A search",
    "lib.data.source": "Files: fetched, unpacked, read",
    "lib.data": "Messages and entries",
    "lib.text": "Tokenizers, prompts and lengths",
    "lib.model": "Models and their weights",
    "lib.training": "Training",
    "lib.evaluation": "Evaluation",
    "lib.evaluation.judge": "The judge",
    "lib.export": "Engines and exports",
    "lib.export.publishing": "Pushing to a hub",
    "lib.inference": "Texts, questions and requests at prediction",
    "lib.serving": "Texts, questions and requests at prediction",
    "lib.scoring": "Files to score",
    "lib.store": "The store",
    "lib.files": "Folders and disks",
    "lib.extras": "Packages",
    "lib.secrets": "Secrets",
    "tasks": "Steps of a run",
    "tasks.record": "MLflow's record of a run",
    "tasks.registry": "The registry",
    "tasks.use": "Registered models at work",
    "tasks.secrets": "Secrets",
    "flows.http": "The scoring server",
    "flows.run": "A flow run",
    "flows.servers": "Servers and the worker",
}
ADVICE = re.compile(r"Why: (?P<why>.+?)\n\nWhat to do: (?P<what>.+)", re.DOTALL)


def area(module: str) -> str:
    """Returns who says what a module says; raises KeyError if AREAS has nobody."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return AREAS[next((name for name in names if name in AREAS), module)]


def tables() -> str:
    """Returns all sections in Markdown: the classes in the order of the source, and the warnings."""
    source = Source()
    said = source.sentences()
    sections = [section(node, [each for each in said if each.kind == name]) for name, node in source.errors.items()]
    warnings = "## Warnings\n\n" + by_area(each for each in said if each.kind == WARNING)
    return "\n\n".join([*sections, warnings])


def section(error: ast.ClassDef, said: Iterable[Sentence]) -> str:
    """Returns a class's section; raises ValueError if its docstring does not say why, and what to do."""
    about, _, rest = (ast.get_docstring(error) or "").partition("\n\n")
    advice = ADVICE.fullmatch(rest)
    if advice is None:
        raise ValueError(f"the docstring of {error.name} needs the paragraphs 'Why: ...' and 'What to do: ...'")
    title = about.partition(":")[0].rstrip(".")
    parts = [f"## {title}", f"*{error.name}.* **Why:** {advice['why']}", f"**What to do:** {advice['what']}"]
    return "\n\n".join([*parts, by_area(said)])


def by_area(said: Iterable[Sentence]) -> str:
    """Returns a table for each area, with each sentence once and the modules that say it."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in said:
        found.setdefault(area(each.module), {}).setdefault(each.text, []).append(each.module)
    return "\n\n".join(_table(name, found[name]) for name in dict.fromkeys(AREAS.values()) if name in found)


def _table(name: str, sentences: dict[str, list[str]]) -> str:
    rows = [f"| {_cell(text)} | {', '.join(map(_link, modules))} |" for text, modules in sentences.items()]
    return "\n".join([f"| {name} | said in |", "|---|---|", *rows])


def _cell(text: str) -> str:
    """Returns a sentence as Markdown shows it."""
    return re.sub(r"([|<*\[\]\\])", r"\\\1", text)


def _link(module: str) -> str:
    path = f"{module.replace('.', '/')}.py"
    return f"[{path}](../{path})"
