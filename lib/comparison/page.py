"""Writes the page about a comparison: one self-contained file in the style of a run's report.

It makes no requests and runs no scripts; the template engine escapes all text. Equal values give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jinja2
from markupsafe import Markup

from lib.comparison import figures, search_figures
from lib.comparison.sections import changes, facts, searched, unfinished, variants
from lib.comparison.story import Story
from lib.comparison.svg import drawn
from lib.comparison.values import METRICS, SMALLER_IS_BETTER, Comparison, written
from lib.comparison.words import middle_cut, short_names
from lib.evaluation.classify.report.charts import Interval, intervals
from lib.evaluation.classify.report.page import ASSETS as REPORT_ASSETS
from lib.evaluation.classify.report.page import STYLE
from lib.evaluation.classify.report.parts import Facts, Part, Picture, Pictures, Points, Section

ASSETS = Path(__file__).parent / "assets"
LONGEST_NAME = 22  # characters of a name in the picture beside the sentences
MOST_DESCRIBED = 12  # variants whose values are said to who cannot see a picture; the table has all


def page(story: Story) -> str:
    """Returns the page, in HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([ASSETS, REPORT_ASSETS]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    comparison = story.comparison
    return environment.get_template("comparison.html").render(
        style=Markup(STYLE.read_text(encoding="utf-8") + (ASSETS / "comparison.css").read_text(encoding="utf-8")),
        title=story.name,
        sentences=[*comparison.sentences[:2], *(story.opened.told if story.opened else ()), *comparison.sentences[2:]],
        overview=_overview(comparison),
        caption=f"Accuracy on {comparison.messages:,} {comparison.measured_on}, with intervals",
        sections=[section for section in sections(story) if section.parts],
    )


def sections(story: Story) -> list[Section]:
    """Returns all sections in their order, those without parts among them."""
    comparison, search = story.comparison, story.search
    return [
        Section("variants", "Variants", variants(comparison)),
        Section("pictures", "What each comes to, and what it costs", list(_pictures(comparison))),
        Section("test", "The chosen one on the test split", _test(story)),
        Section("changes", "What makes them differ", changes(comparison)),
        Section("search", "The search", [*searched(search), *_search_pictures(story)] if search else []),
        Section("unfinished", "Failed and pruned", unfinished(comparison)),
        Section("comparison", "Which comparison this is", [Facts(list(facts(story)))]),
    ]


def _overview(comparison: Comparison) -> Markup | None:
    """Draws the chosen one above the reference and what is no candidate, where there are intervals."""
    names, _ = short_names(comparison.rows)
    asked = [comparison.chosen_row, comparison.reference_row, *(row for row in comparison.rows if not row.candidate)]
    bars = [
        Interval(middle_cut(names[row.name], LONGEST_NAME), row.value, row.low, row.high, 1 if row.chosen else 2)
        for row in {row.name: row for row in asked if row is not None}.values()
        if row.value is not None and row.low is not None and row.high is not None
    ]
    told = "; ".join(f"{bar.name} {bar.value:.2%} ({bar.low:.2%} to {bar.high:.2%})" for bar in bars)
    return intervals(bars, f"Accuracy with its interval: {told}") if bars else None


def _pictures(comparison: Comparison) -> Iterator[Part]:
    metric = comparison.metric
    best = [row for row in comparison.first_rows(MOST_DESCRIBED) if row.value is not None]
    values = ", ".join(f"{row.name} {written(metric, row.value)}" for row in best)
    front = ", ".join(row.name for row in comparison.rows if row.on_front)
    described = {
        "values": f"{METRICS[metric]} of each variant: {values}",
        "front": f"{METRICS[metric]} over the time of training; none is better in as little time than {front}",
    }
    beaten = "above" if metric in SMALLER_IS_BETTER else "below"
    captions = {
        "values": "What each variant comes to"
        + (
            ", and its interval. Two whose intervals overlap may still differ beyond noise, because they answered the"
            " same messages: the colour says what the paired test does."
            if metric == "accuracy"
            else "."
        ),
        "front": f"What a variant comes to, and how long it was trained. What lies {beaten} the line is beaten by one"
        " that took no longer.",
    }
    found = drawn(lambda: figures.draw(comparison), described)
    for name, caption in captions.items():
        if name in found:
            yield Pictures([Picture(found[name], caption)])


def _search_pictures(story: Story) -> Iterator[Part]:
    search, metric = story.search, story.comparison.metric
    if search is None:
        return
    shares = ", ".join(f"{name} {share:.0%}" for name, share in search.importance.items())
    described = {
        "history": f"What each of {len(search.history)} trials came to, and the best so far",
        "importance": f"Importance of each field: {shares}",
    }
    captions = {
        "history": "What each trial came to, in their order. A pruned one was stopped early: its value is what it had"
        " come to by then.",
        "importance": "How much of what sets the trials apart each field explains, as the search estimates it.",
    }
    found = drawn(lambda: search_figures.draw(search, metric), described)
    pictures = [Picture(found[name], caption) for name, caption in captions.items() if name in found]
    if pictures:
        yield Pictures(pictures)


def _test(story: Story) -> list[Part]:
    opened = story.opened
    return [Points([*opened.told, *opened.sentences])] if opened else []
