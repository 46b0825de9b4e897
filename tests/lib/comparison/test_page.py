"""The page about a comparison: what it says, that it needs nothing but itself, and how it looks on screens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.comparison.page import ASSETS, page, sections
from tests.lib.evaluation.classify.report.test_page import contrast
from tests.support.chromium import Browser, chromium, missing
from tests.support.compared import OPENED, SEARCHED, grid, named, story
from tests.support.elements import Elements

HOSTILE = "<script>document.title='taken'</script><img src=http://example.org/x>"
SECTIONS = ["variants", "pictures", "test", "changes", "search", "unfinished", "comparison"]


@pytest.fixture(scope="module")
def source() -> str:
    return page(story(grid(8), opened=OPENED, search=SEARCHED))


@pytest.fixture(scope="module")
def elements(source: str) -> Elements:
    return Elements(source)


def test_every_section_is_there_after_the_sentences(elements: Elements) -> None:
    found = story(grid(8), opened=OPENED, search=SEARCHED)
    assert [each["id"] for each in elements.named("section")] == SECTIONS
    words = " ".join(elements.words)
    places = [words.index(sentence) for sentence in (*found.comparison.sentences[:2], *OPENED.told)]
    assert places == sorted(places)
    assert "Comparison: learning-rates" in elements.words
    assert "292 of 300 test messages get the right label." in elements.words


def test_a_section_without_anything_is_left_out() -> None:
    there = [section.name for section in sections(story(grid(2))) if section.parts]
    assert there == ["variants", "pictures", "changes", "comparison"]


def test_the_page_needs_nothing_but_itself(elements: Elements, source: str) -> None:
    assert not {"script", "link", "iframe", "object", "img", "image", "embed"} & {tag for tag, _ in elements.elements}
    assert not [
        name for _, attributes in elements.elements for name in attributes if name.startswith("on") or name == "src"
    ]
    for tag, attributes in elements.elements:
        assert tag == "a" or not (attributes.get("href") or "").startswith("http")
        assert (attributes.get("xlink:href") or "#").startswith("#")
    assert set(re.findall(r"url\((.)", source)) <= {"#"}
    assert "@import" not in source


def test_names_and_reasons_are_shown_as_they_are_and_never_run() -> None:
    names = ("base", HOSTILE, '"><svg onload=alert(1)>', "a\n|b", "x" * 5000, HOSTILE + "2")
    elements = Elements(page(story(named(names))))
    assert not {"script", "img"} & {tag for tag, _ in elements.elements}
    assert not [name for _, attributes in elements.elements for name in attributes if name.startswith("on")]
    assert HOSTILE + "2" in elements.words
    assert not [word for word in elements.words if "x" * 100 in word]
    links = [each["href"] or "" for each in elements.named("a") if not (each["href"] or "").startswith("#")]
    assert all(re.fullmatch(r"http://host/[^\s<>\"]*", link) for link in links)


def test_the_same_comparison_gives_the_same_bytes(source: str) -> None:
    assert page(story(grid(8), opened=OPENED, search=SEARCHED)) == source


def test_figures_stand_with_what_they_are_compared_with(elements: Elements) -> None:
    words = [word.strip() for word in elements.words if word.strip()]
    start = words.index("Variants by their accuracy")
    row = words[words.index("learning_rate 0.01, batch_size 8", start) :]
    assert row[:4] == ["learning_rate 0.01, batch_size 8", "96.67%", row[2], "−2.33"]
    assert re.fullmatch(r"9\d\.\d\d–9\d\.\d\d%", row[2])
    assert row[row.index("7.09M") + 1] == "of 124M"
    assert "the loss is no number" in words
    assert [words[words.index(field, words.index("trials")) + 1] for field in SEARCHED.best] == ["0.001", "16"]


def test_names_inside_pictures_are_not_those_of_another_one(elements: Elements) -> None:
    names = [attributes["id"] for _, attributes in elements.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    used = {(attributes.get("xlink:href") or "")[1:] for _, attributes in elements.elements} - {""}
    assert used
    assert used <= set(names)


def test_whoever_cannot_see_it_is_told_what_there_is(elements: Elements) -> None:
    assert len(elements.named("main")) == len(elements.named("nav")) == len(elements.named("h1")) == 1
    pictures = elements.named("svg")
    assert len(pictures) == 5
    assert all(each["role"] == "img" and each["aria-label"] for each in pictures)
    assert len(elements.named("caption")) == len(elements.named("table"))


def test_pictures_have_the_colours_of_both_themes(source: str) -> None:
    drawn = source[source.index("<main>") :]
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)
    assert "var(--c3)" in drawn
    style = (ASSETS / "comparison.css").read_text()
    light, dark = re.findall(r"--good: (#\w{6})", style)
    assert contrast(light, "#ffffff") >= 4.5
    assert contrast(dark, "#1e2226") >= 4.5


needs_chromium = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")


@pytest.fixture(scope="module")
def opened(source: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    file = tmp_path_factory.mktemp("comparison") / "comparison.html"
    file.write_text(source, encoding="utf-8")
    with chromium() as browser:
        yield browser, file


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_screen_shows_it_without_scrolling_sideways_and_without_requests(
    opened: tuple[Browser, Path], width: int
) -> None:
    browser, file = opened
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.open(file.as_uri())
    assert browser.driver.title == "Comparison: learning-rates"
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.hosts() == set()
    heights = browser.run("return [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().height)")
    assert min(heights) > 50
