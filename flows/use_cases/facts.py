"""States a run's facts for its table, as names and values in words; computes nothing that is not in an artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from flows.use_cases.use_case import Artifacts, Fact
from lib.evaluation.classify.findings import Findings
from lib.evaluation.flat import curve_name
from lib.files.jsonfile import load_json
from lib.text.long_texts import LongTexts
from tasks.record.engine import served_with

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact

LONGEST_SHOWN = 100  # characters of a label, of a question and of an answer


def classifier_facts(artifacts: Artifacts, metrics: Mapping[str, float], recipe: ClassifyRecipe) -> Iterator[Fact]:
    """Counts, where the curves began and ended, and the accuracy on the test split."""
    profile = load_json(artifacts["messages"].file("profile.json"))
    split = load_json(artifacts["holdout"].file("split.json"))
    tokens = load_json(artifacts["tokenize"].file("tokens.json"))
    labels = ", ".join(f"{count:,} {_one_line(label)}" for label, count in profile["labels"].items())
    yield "messages", f"{profile['rows']:,} ({labels})"
    given = f" (given: {', '.join(split['given'])})" if split["given"] else ""
    yield "split", f"{_counts(split['rows'])}{given}"
    yield "longest message kept", f"{tokens['max_length']} tokens"
    if "long_texts" in tokens:
        yield "reads", LongTexts(**tokens["long_texts"]).in_words(tokens["max_length"])
    yield from _curve(artifacts["finetune"], ("train_loss", "validation_loss"), "{:.3f}", metrics)
    yield from _curve(artifacts["finetune"], ("train_accuracy", "validation_accuracy"), "{:.2%}", metrics)
    yield "served with", served_with(artifacts["engine"])
    findings = Findings.load(artifacts["evaluate"].folder)
    yield from findings.decision.in_words(_one_line(findings.positive or "")).items()
    low, high = metrics["test/accuracy_low"], metrics["test/accuracy_high"]
    confidence = recipe.evaluation.confidence
    yield "test accuracy", f"{metrics['test/accuracy']:.2%} ({confidence:.0%} interval {low:.2%} to {high:.2%})"
    if "folds/accuracy_mean" in metrics:
        mean, deviation = metrics["folds/accuracy_mean"], metrics["folds/accuracy_deviation"]
        yield "accuracy on folds", f"{mean:.2%} (standard deviation {deviation:.2%} between {recipe.evaluation.folds})"
    if "baseline/test/accuracy" in metrics:
        baseline = metrics["baseline/test/accuracy"]
        points = 100 * (metrics["test/accuracy"] - baseline)
        yield "TF-IDF baseline", f"{baseline:.2%}; this classifier is {points:+.2f} points away"


def instruct_facts(artifacts: Artifacts, metrics: Mapping[str, float], recipe: InstructRecipe) -> Iterator[Fact]:
    """Counts, where the curves began and ended, how good the answers to the test split are, and one of them."""
    from lib.data.entries.reading import entries_in_words
    from lib.data.tables import ANSWERS, load_table

    profile = load_json(artifacts["entries"].file("profile.json"))
    split = load_json(artifacts["split_entries"].file("split.json"))
    tokens = load_json(artifacts["tokenize_entries"].file("tokens.json"))
    yield "entries", entries_in_words(profile)
    yield from _left_out(profile, tokens)
    yield "split", _counts(split["rows"])
    yield "longest entry", _longest_entry(tokens)
    yield from _curve(artifacts["finetune_instructions"], ("train_loss", "validation_loss"), "{:.3f}", metrics)
    yield "test loss", f"{metrics['test/loss']:.3f}{_perplexity(metrics)}"
    yield "exact match", f"{metrics['test/exact_match']:.1%} of the answers"
    yield "chrF", f"{metrics['test/chrf']:.1f} of 100"
    yield "stopped by themselves", f"{metrics['test/stopped']:.1%} of the answers"
    if "judge/unparsed" in metrics:
        yield "judge", judged_in_words(metrics, recipe)
        anchors = load_json(artifacts["judge"].file("summary.json"))["anchors"]
        yield "judge's test", f"{anchors['verdict']}: {anchors['why']}"
    first = load_table(artifacts["respond"].file("answers.parquet"), ANSWERS).iloc[0]
    question = _one_line(f"{first['instruction']} {first['input']}")
    yield "first answer", f"{question} -> {_one_line(first['response'])}"


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in rows.items())


def _curve(trained: Artifact, names: tuple[str, ...], form: str, metrics: Mapping[str, float]) -> Iterator[Fact]:
    """Where each curve began, and what the kept weights have: the final metric of that name, where there is one."""
    from lib.training.history import read_history

    history = read_history(trained.file("history.parquet"))
    first, kept = history.iloc[0], history.iloc[load_json(trained.file("training.json"))["kept_row"]]
    for name in names:
        yield (
            name.replace("_", " "),
            f"{form.format(first[name])} -> {form.format(metrics.get(curve_name(name), kept[name]))}",
        )


def _left_out(
    profile: Mapping[str, Mapping[str, int]], tokens: Mapping[str, Mapping[str, Mapping[str, int]]]
) -> Iterator[Fact]:
    """Entries of the file that are in no split, with the reasons."""
    too_long = sum(report["left_out"] for report in tokens["splits"].values())
    reasons = {**profile["left_out"], **({"too long": too_long} if too_long else {})}
    if reasons:
        yield "entries left out", ", ".join(f"{count:,} ({reason})" for reason, count in reasons.items())


def _longest_entry(tokens: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    reports = tokens["splits"].values()
    cut = sum(report["truncated"] for report in reports)
    note = f"; {cut:,} cut to {tokens['max_length']:,}" if cut else ""
    return f"{max(report['longest'] for report in reports):,} tokens{note}"


def _perplexity(metrics: Mapping[str, float]) -> str:
    """It is missing where it is more than a number can hold."""
    perplexity = metrics.get("test/perplexity")
    return "" if perplexity is None else f" (perplexity {perplexity:,.1f})"


def judged_in_words(metrics: Mapping[str, float], recipe: InstructRecipe) -> str:
    """The judge's mean score and its interval, which is missing where only one verdict was a score; both are where none
    was."""
    unparsed = int(metrics["judge/unparsed"])
    note = f"; {unparsed:,} without a score" if unparsed else ""
    if "judge/mean" not in metrics:
        return f"{recipe.judge.model} gave no score{note}"
    interval = ""
    if "judge/mean_low" in metrics:
        low, high = metrics["judge/mean_low"], metrics["judge/mean_high"]
        interval = f" ({recipe.evaluation.confidence:.0%} interval {low:.2f} to {high:.2f})"
    return f"{metrics['judge/mean']:.2f} of 100 by {recipe.judge.model}{interval}{note}"


def _one_line(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 1]}…"
