"""A registered classifier's page, from plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lib.evaluation.classify.model_card import LONGEST, CardFacts, classifier_card


def measured(accuracy: float, **more: Any) -> dict[str, Any]:
    interval = {"low": accuracy - 0.02, "high": accuracy + 0.01, "confidence": 0.95}
    return {"rows": 300, "accuracy": accuracy, "accuracy_interval": interval, "precision": 0.91, "f1": 0.5, **more}


FACTS = CardFacts(
    verdict="291 of 300 test messages get the right label: 97.00% (95% interval 95.00% to 98.00%).",
    name="sms-spam",
    about={"recipe": "quick", "training": "5 epochs | batches of 8"},
    source={"ham": 4827, "spam": 747},
    splits={
        "train": {"ham": 3379, "spam": 523},
        "validation": {"ham": 482, "spam": 74},
        "test": {"ham": 966, "spam": 150},
    },
    held_out=12,
    metrics={
        "test": measured(0.97, false_positive_rate=0.004),
        "baseline": {"test": measured(0.96)},
        "natural_prevalence": None,
    },
    given_test=False,
    positive="spam",
    reads="the first 120 tokens of a text",
)


def row(*cells: str) -> str:
    """A row of a table, as MLflow's pages show its columns apart."""
    return f"| {'&emsp; | '.join(cells)} |"


def test_the_card_has_the_run_the_data_the_figures_the_limits_and_how_to_use_it() -> None:
    card = classifier_card(FACTS)
    assert card.startswith(f"{FACTS.verdict}\n\n## What it is\n")
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        f"## {title}" for title in ("What it is", "Data", "Figures", "Limits", "Use")
    ]
    assert row("training", "5 epochs \\| batches of 8") in card  # a bar in a value does not end its cell
    assert row("label", "source", "train", "validation", "test") in card
    assert row("ham", "4,827", "3,379", "482", "966") in card
    assert "frozen test set" in card
    assert "12 were left out of train and validation here" in card
    assert row("accuracy", "97.00% (95.00% to 98.00%)", "96.00% (94.00% to 97.00%)") in card
    assert row("false positive rate", "0.0040", "") in card
    assert "The rarest label of the test split, `spam`, has 150 messages" in card
    assert 'load_model("models:/sms-spam@champion")' in card
    assert "- It reads the first 120 tokens of a text.\n" in card
    assert "not worse" not in card


def test_warnings_are_on_the_card_and_are_no_markup() -> None:
    warned = replace(FACTS, warnings=["the label '<b>|*_x' is rare", "3 rows of data.empty_text are left out"])
    section = classifier_card(warned).partition("## Warnings\n\n")[2].partition("\n\n")[0]
    assert section.splitlines() == [
        r"- the label '\<b\>\|\*\_x' is rare",
        "- 3 rows of data.empty_text are left out",
    ]


def test_a_baseline_that_is_as_good_is_a_limit() -> None:
    equal = replace(FACTS, metrics={"test": measured(0.97), "baseline": {"test": measured(0.97)}})
    assert "The TF-IDF baseline, which takes a second to fit, is not worse on these messages" in classifier_card(equal)


def test_the_natural_figures_say_whose_class_shares_they_have() -> None:
    natural = replace(FACTS, metrics={**FACTS.metrics, "natural_prevalence": measured(0.98)})
    assert "at the source's shares" in classifier_card(natural)
    assert "at the test split's shares" in classifier_card(replace(natural, given_test=True))


def test_many_long_labels_fit_into_what_mlflow_keeps() -> None:
    labels = {f"label number {number} {'x' * 200}": 1000 - number for number in range(500)}
    many = replace(FACTS, source=labels, splits=dict.fromkeys(FACTS.splits, labels), positive=None)
    card = classifier_card(many)
    assert len(card) <= LONGEST
    assert "label number 0 " in card
    assert "| 480 more&emsp; |" in card
    assert "means over the labels" in card
    assert card.endswith("```\n")  # nothing had to be cut
    longest = classifier_card(replace(many, about={"recipe": "word " * 2000}))
    assert len(longest) <= LONGEST
    assert longest.endswith("\n")
