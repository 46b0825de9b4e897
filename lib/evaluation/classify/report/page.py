"""Writes the report: one self-contained page, laid out by `assets/page.html` and `assets/page.css`.

The page makes no requests and runs no scripts; the template engine escapes all text. Equal facts give equal bytes.
"""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from lib.evaluation.classify.report import doubts, figures, labels, probabilities
from lib.evaluation.classify.report.facts import Identity, ReportFacts
from lib.evaluation.classify.report.parts import Facts, Part, Section, Table, cells

ASSETS = Path(__file__).parent / "assets"
TEMPLATE, STYLE = ASSETS / "page.html", ASSETS / "page.css"


def render(facts: ReportFacts) -> str:
    """Returns the page."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        style=Markup(STYLE.read_text(encoding="utf-8")),
        title=facts.identity.title,
        quality=facts.verdict.quality,
        comparison=facts.verdict.comparison,
        cautions=facts.verdict.cautions,
        accuracy=f"{facts.test['accuracy']:.2%}",
        overview=figures.overview(facts),
        sections=[section for section in sections(facts) if section.parts],
    )


def sections(facts: ReportFacts) -> list[Section]:
    """Returns all sections in their order, those without parts among them."""
    return [
        identity(facts.identity),
        figures.figures(facts),
        figures.comparisons(facts),
        doubts.data(facts),
        doubts.leakage(facts),
        figures.curves(facts),
        labels.labels(facts),
        probabilities.threshold(facts),
        probabilities.prevalence(facts),
        doubts.slices(facts),
        doubts.mistakes(facts),
        doubts.suspects(facts),
        *figures.folds(facts),
        trained(facts),
        figures.engines(facts),
    ]


def identity(found: Identity) -> Section:
    """Which run this is, and what its messages were read from."""
    parts: list[Part] = [Facts(found.facts)]
    if found.files:
        rows = [cells(file.name, f"{file.size:,}", file.sha256) for file in found.files]
        parts.append(Table("Files of the data", ["file", "bytes", "SHA-256"], rows, words=frozenset({2})))
    return Section("run", "Which run this is", parts)


def trained(facts: ReportFacts) -> Section:
    """What was trained."""
    about = list(facts.findings.about.items())
    return Section("model", "What was trained", [Facts(about)] if about else [])
