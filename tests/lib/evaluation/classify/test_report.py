import base64
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from lib.evaluation.classify.metrics import measure
from lib.evaluation.classify.report import MISTAKES, Findings, worst_mistakes, write_report

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
HOSTILE = "<script>document.title='taken'</script><img src=http://example.org/x>"
LABELS = ("ham", "<b>spam</b>")


def predictions(rows: int = 60) -> pd.DataFrame:
    """Test messages of which every second is wrong, more confidently from row to row."""
    confidence = [0.5 + row / 200 for row in range(rows)]
    return pd.DataFrame(
        {
            "split": ["test" if row < 50 else "train" for row in range(rows)],
            "id": range(rows),
            "text": [HOSTILE if row == 49 else f"message {row}" for row in range(rows)],
            "label": ["ham"] * rows,
            "predicted": [LABELS[row % 2] for row in range(rows)],
            "probability_ham": [1 - c if row % 2 else c for row, c in enumerate(confidence)],
            "probability_<b>spam</b>": [c if row % 2 else 1 - c for row, c in enumerate(confidence)],
        }
    )


@pytest.fixture
def findings() -> Findings:
    table = predictions()
    test = table[table["split"] == "test"]
    figures = measure(
        (test["label"] == LABELS[1]).astype(int).to_numpy(),
        test.filter(like="probability_").to_numpy(),
        labels=LABELS,
        positive=LABELS[1],
        confidence=0.95,
    )
    return Findings(
        about={"backbone": "2 layers, 64 dimensions"},
        warnings=["40 texts have two labels, such as '<i>spam</i>'"],
        counts={name: dict.fromkeys(LABELS, 25) for name in ("source", "train", "validation", "test")},
        given_test=False,
        straddling={
            which: {"near_duplicates": {"test": count}, "copies": {"test": 0}}
            for which, count in (("made", 0), ("plain", 37))
        },
        metrics={
            "train": figures,
            "validation": figures,
            "test": figures,
            "baseline": {"test": {**figures, "accuracy": 0.625}},
        },
        predictions=table,
        figures=["loss", "confusion"],
        labels=LABELS,
        positive=LABELS[1],
    )


@pytest.fixture
def page(findings: Findings, tmp_path: Path) -> Path:
    for name in findings.figures:
        (tmp_path / f"{name}.png").write_bytes(PIXEL)
    write_report(tmp_path / "report.html", findings, tmp_path)
    return tmp_path / "report.html"


class Elements(HTMLParser):
    """Every element with its attributes, and the text between."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    source = page.read_text(encoding="utf-8")
    elements = Elements(source).elements
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in elements}
    addresses = [
        str(value) for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert len(addresses) == 2
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "url(" not in source
    assert "@import" not in source


def test_texts_and_labels_are_shown_as_they_are_and_never_run(page: Path) -> None:
    parsed = Elements(page.read_text(encoding="utf-8"))
    assert HOSTILE in parsed.words
    assert "<b>spam</b>" in parsed.words
    assert "b" not in {tag for tag, _ in parsed.elements}


def test_the_headline_gives_interval_and_baseline(page: Path) -> None:
    text = " ".join(Elements(page.read_text(encoding="utf-8")).words)
    assert "25 of 50 test messages are classified correctly: 50.0% (95% confidence interval 36.6% to 63.4%)." in text
    assert "TF-IDF with logistic regression reaches 62.5% on the same messages." in text
    assert "near-duplicate among the training messages: 0 (in a plain random split of the same messages: 37)" in text
    assert "at source shares" not in text  # was not estimated


def test_the_same_findings_give_the_same_bytes(page: Path, findings: Findings, tmp_path: Path) -> None:
    write_report(tmp_path / "again.html", findings, tmp_path)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_the_most_confident_mistakes_on_the_test_split_come_first() -> None:
    worst = worst_mistakes(predictions())
    assert len(worst) == MISTAKES
    assert worst[0] == {
        "id": 49, "text": HOSTILE, "label": "ham", "predicted": "<b>spam</b>", "probability": pytest.approx(0.745),
    }  # fmt: skip
    assert [row["id"] for row in worst] == list(range(49, 49 - 2 * MISTAKES, -2))


def test_long_messages_are_cut() -> None:
    table = predictions(4).assign(text="x" * 2000)
    assert worst_mistakes(table)[0]["text"] == "x" * 499 + "…"


def test_a_classifier_without_mistakes(findings: Findings, page: Path, tmp_path: Path) -> None:
    right = findings.predictions.assign(predicted=findings.predictions["label"])
    write_report(tmp_path / "right.html", replace(findings, predictions=right), tmp_path)
    assert "No test message was classified wrongly." in (tmp_path / "right.html").read_text(encoding="utf-8")


@pytest.mark.browser
def test_a_browser_shows_it_on_a_narrow_screen_without_requests_or_errors(page: Path) -> None:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        )
        browser.get(page.as_uri())
        assert browser.title == "Evaluation of the classifier"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 380
        assert browser.execute_script("return [...document.images].map(i => i.naturalWidth)") == [1, 1]
        resources = browser.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
        assert all(name.startswith("data:") for name in resources)
        assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    finally:
        browser.quit()
