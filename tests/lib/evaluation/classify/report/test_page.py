"""The report of a run: what it holds, that it needs nothing but itself, and how it looks on screens and on paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lib.evaluation.classify.calibration import Scaling
from lib.evaluation.classify.cautions import Source
from lib.evaluation.classify.classes import class_table
from lib.evaluation.classify.decision import Decision
from lib.evaluation.classify.label_check import LabelCheck, Suspect
from lib.evaluation.classify.leakage import Copy, Leak
from lib.evaluation.classify.mistakes import Mistake, Neighbour
from lib.evaluation.classify.prevalence import PrecisionRecall
from lib.evaluation.classify.report.facts import Identity, Message, ReportFacts, SourceFile
from lib.evaluation.classify.report.page import STYLE, render, sections
from lib.evaluation.classify.slices import Slice
from lib.evaluation.classify.summary import summarise
from lib.evaluation.classify.suspects import Spread
from lib.evaluation.classify.threshold import Goal, Threshold
from lib.evaluation.classify.verdict import Challenge, Rival
from tests.support.chromium import Browser, chromium, missing
from tests.support.elements import Elements
from tests.support.findings import FINDINGS, METRICS, TEST

HOSTILE = "<script>document.title='taken'</script><img src=http://example.org/x>"
LONG = "x" * 2000
SECTIONS = (
    *("run", "figures", "comparisons", "data", "copies", "curves", "labels", "probabilities", "prevalence", "parts"),
    *("mistakes", "suspects", "folds", "model", "engine"),
)
SUSPECT = Suspect(9, "train", HOSTILE, "ham", "spam", -0.9, counted=True, file="sms.csv", row=9, line=11)
ENGINES = ({"candidate": "torch, float32", "accuracy": "97.4%", "why not": ""},)
MESSAGES = {
    ("test", 3): Message(103, HOSTILE, "ham"),
    ("test", 7): Message(107, LONG, "spam"),
    ("train", 2): Message(2, "free entry", "spam"),
}


def facts() -> ReportFacts:
    """A run with something in every section."""
    chosen = Threshold(0.42, 740, 0.95, 0.94, 0.945, 0.006, (0.002, 0.01), 0.0)
    natural = {
        "rows": 1000,
        "shares": {"ham": 0.866, "spam": 0.134},
        "accuracy": 0.975,
        "accuracy_interval": TEST["accuracy_interval"],
        "precision": 0.95,
        "recall": 0.94,
        "f1": 0.945,
        "mcc": 0.93,
        "false_positives_per_1000": 6.1,
        "false_negatives_per_1000": 8.2,
    }
    findings = replace(
        FINDINGS,
        decision=Decision(0.42, Goal("f1"), chosen, Scaling(1.4, at_the_end=False)),
        uncalibrated=FINDINGS.calibration,
        prevalence=PrecisionRecall((0.9, 0.42, 0.1), (1.0, 0.95, 0.3), (0.5, 0.94, 1.0), 0.96, 0.134),
        slices=(Slice("links", "with", 120, 0.8, (0.72, 0.86), 0.98, 0.0004),),
        leaks=(Leak("test", "train", (Copy(3, 9, 1.0, exact=True), Copy(4, 2, 0.9, exact=False))),),
        mistakes=(Mistake(3, 0, 1, 0.99, (Neighbour(2, 0.4),)), Mistake(7, 1, 0, 0.9, ())),
        folds=Spread((0.96, 0.97, 0.98), 0.97, 0.01),
        label_check=LabelCheck("logistic regression", 0.97, 4900, 4900, 31, (SUSPECT,)),
    )
    metrics = {**METRICS, "natural_prevalence": natural, "test_without_copies": {**TEST, "rows": 998}}
    duel = Challenge("promoted", "3", Rival("version 3", "version 3", 0.95, 9, 0, 0.004), 0.97, 300)
    return ReportFacts(
        identity=Identity(
            "sms-spam version 4",
            [("run", "classify quick 11-26 14:25:04"), ("rows", "5,577 read, 5,574 used, 3 left out")],
            [SourceFile("messages.csv", 477_907, "7d039a24a6083ad9ef0f806e7d3c6b7b2a4b3d9b9a6bf5a8e1a3f0a1d3d0c6f5")],
        ),
        verdict=summarise(findings, metrics, Source(contradictions=2), duel),
        findings=findings,
        metrics=metrics,
        history={
            "epoch": [0.0, 0.5, 1.0],
            "train_loss": [0.7, 0.2, float("nan")],
            "validation_loss": [0.7, 0.3, 0.25],
            "train_accuracy": [0.5, 0.9, 0.97],
            "validation_accuracy": [0.5, 0.9, 0.96],
        },
        messages=MESSAGES,
        challenge=duel,
        why="better than the champion beyond noise",
        warnings=["40 texts have two labels, such as '<i>spam</i>'"],
        left_out={"empty text": 3},
        engines=ENGINES,
    )


@pytest.fixture(scope="module")
def source() -> str:
    return render(facts())


@pytest.fixture(scope="module")
def page(source: str) -> Elements:
    return Elements(source)


def test_every_section_is_there_in_order_after_the_verdict(page: Elements, source: str) -> None:
    assert tuple(each["id"] for each in page.named("section")) == SECTIONS
    assert [f"#{name}" for name in SECTIONS] == [each["href"] for each in page.named("a")]
    start = source.index("<main>")
    places = [source.index(sentence) for sentence in facts().verdict.sentences]
    assert places == sorted(places)
    assert places[-1] < start


def test_a_section_without_anything_is_left_out() -> None:
    bare = replace(
        facts(),
        findings=FINDINGS,
        metrics={name: METRICS[name] for name in ("train", "validation", "test")},
        engines=(),
        history={"epoch": []},
    )
    there = [section.name for section in sections(bare) if section.parts]
    assert there == [
        name for name in SECTIONS if name not in ("curves", "prevalence", "parts", "suspects", "folds", "engine")
    ]
    assert [each["id"] for each in Elements(render(bare)).named("section")] == there


def test_the_page_needs_nothing_but_itself(page: Elements, source: str) -> None:
    assert not {"script", "link", "iframe", "object", "img", "embed"} & {tag for tag, _ in page.elements}
    assert not [
        name for _, attributes in page.elements for name in attributes if name.startswith("on") or name == "src"
    ]
    assert "url(" not in source
    assert "@import" not in source


def test_texts_and_labels_are_shown_as_they_are_and_never_run(page: Elements) -> None:
    assert HOSTILE in page.words
    assert "40 texts have two labels, such as '<i>spam</i>'" in page.words
    assert "i" not in {tag for tag, _ in page.elements}
    odd = ("<b>ham</b>", '"><svg onload=alert(1)>')
    counts = {split: dict(zip(odd, of.values(), strict=True)) for split, of in FINDINGS.counts.items()}
    table = replace(FINDINGS.classes, rows=tuple(replace(row, label=odd[0]) for row in FINDINGS.classes.rows))
    named = replace(FINDINGS, labels=odd, positive=odd[1], counts=counts, classes=table)
    labelled = Elements(render(replace(facts(), findings=named)))
    assert "<b>ham</b>" in labelled.words
    assert "b" not in {tag for tag, _ in labelled.elements}
    assert not [name for _, attributes in labelled.elements for name in attributes if name.startswith("on")]


def test_long_messages_are_cut(page: Elements) -> None:
    assert "x" * 499 + "…" in page.words
    assert LONG not in page.words


def test_the_same_facts_give_the_same_bytes(source: str) -> None:
    assert render(facts()) == source


def test_figures_stand_with_their_intervals_and_their_rivals(page: Elements) -> None:
    words = [word.strip() for word in page.words if word.strip()]
    row = words[words.index("accuracy", words.index("Metrics of each split")) :]
    assert row[:6] == ["accuracy", "97.40%", "96.20–98.20%", "96.10%", "96.20–98.20%", "85.00%"]
    assert "93.00–99.00%" in words  # precision's, by the bootstrap
    assert "this classifier and version 3, the champion (frozen test set, 300 messages)" in words
    text = " ".join(words)
    assert "spam is given from a probability of 0.42 on, which was chosen on validation for the largest F1" in text
    assert "a temperature of 1.4" in text
    assert "Without them the accuracy on the test split is 97.40%" in text


def test_a_classifier_without_mistakes_says_so() -> None:
    perfect = {**METRICS, "test": {**TEST, "accuracy": 1.0}}
    found = replace(facts(), metrics=perfect, findings=replace(FINDINGS, mistakes=()))
    assert "No test message was classified wrongly." in Elements(render(found)).words


def test_many_labels_have_a_picture_and_a_list_instead_of_a_large_table() -> None:
    names = tuple(f"label {number}" for number in range(77))
    confusion = [[9 if row == column else int(column == row + 1) * 2 for column in range(77)] for row in range(77)]
    counts = dict.fromkeys(("source", "train", "validation", "test"), dict.fromkeys(names, 11))
    many = replace(
        FINDINGS,
        labels=names,
        positive=None,
        counts=counts,
        classes=class_table(confusion, names, confidence=0.95),
        mistakes=(),
    )
    page = Elements(
        render(replace(facts(), findings=many, metrics={**METRICS, "test": {**TEST, "confusion": confusion}}))
    )
    assert "57 more labels" in page.words
    assert "2 of label 0 were called label 1 (18.2%)" in page.words
    assert len([each for each in page.named("rect") if "cell" in str(each["class"])]) == 77 + 76
    assert "label 76" in page.words  # the table of labels has all of them


def test_whoever_cannot_see_it_is_told_what_there_is(page: Elements) -> None:
    assert page.named("html") == [{"lang": "en"}]
    assert len(page.named("main")) == len(page.named("nav")) == len(page.named("h1")) == 1
    assert all(each["role"] == "img" and each["aria-label"] for each in page.named("svg"))
    assert all(each.get("scope") in ("row", "col") for each in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, *[2] * len(SECTIONS)]
    assert all(each["aria-labelledby"] == f"{each['id']}-title" for each in page.named("section"))


def luminance(colour: str) -> float:
    """By the definition of the Web Content Accessibility Guidelines 2.2."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def mixed(first: str, second: str, share: float) -> str:
    parts = [
        round(share * int(first[place : place + 2], 16) + (1 - share) * int(second[place : place + 2], 16))
        for place in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)


def test_text_and_lines_stand_out_in_the_light_and_the_dark_theme() -> None:
    themes = [dict(re.findall(r"--([\w]+): (#\w{6})", block)) for block in STYLE.read_text().split(":root")[1:3]]
    for theme in themes:
        for ground in ("page", "card"):
            for text in ("ink", "muted", "accent", "wrong"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
            for line in ("c1", "c2", "c3", "c4"):
                assert contrast(theme[line], theme[ground]) >= 3, (line, ground)
        assert contrast(theme["ink"], mixed(theme["c1"], theme["card"], 0.42)) >= 4.5  # the darkest cell of a confusion


needs_chromium = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")


@pytest.fixture(scope="module")
def opened(source: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(source, encoding="utf-8")
    with chromium() as browser:
        yield browser, file


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_screen_shows_it_without_scrolling_sideways_without_requests_and_errors(
    opened: tuple[Browser, Path], width: int
) -> None:
    browser, file = opened
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.open(file.as_uri())
    assert browser.driver.title == "Report: sms-spam version 4"
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.hosts() == set()
    if width == 1280:  # there is room for every table
        assert browser.run(
            "return [...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)"
        )


A4 = (595, 842)  # points
LEAST_BELOW = 90  # points between a heading and the end of its page, its lower margin included


@pytest.mark.browser
@needs_chromium
def test_paper_has_all_columns_and_no_heading_at_the_end_of_a_page(opened: tuple[Browser, Path]) -> None:
    browser, file = opened
    inside = {"width": round((A4[0] - 80) * 96 / 72), "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", inside)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.open(file.as_uri())
    ends = "return [...document.querySelectorAll('table, svg, p, dl')].map(e => e.getBoundingClientRect().right)"
    assert max(browser.run(ends)) <= inside["width"]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    options = {"preferCSSPageSize": True, "printBackground": True, "generateDocumentOutline": True}
    printed = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", options)["data"])
    assert {round(float(side)) for side in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ", printed)} == {A4[0]}
    # Where the outline says that headings are: points from the lower end of their page.
    heights = [float(height) for height in re.findall(rb"/XYZ [\d.]+ ([\d.]+) ", printed)]
    assert len(heights) >= len(SECTIONS)
    assert min(heights) > LEAST_BELOW
