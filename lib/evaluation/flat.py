"""Names the numbers of a run: the path to each, joined by slashes, because MLflow groups metrics by it.

Every name of a metric, in MLflow, in `--json`, in tables and in tags, is made here. Separate from the evaluations, so
that a run with a cached evaluation does not import what computes it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lib.data.tables import SPLITS

BY_LABEL = ("classes", "shares")  # groups of a metrics.json whose names are labels, which MLflow may refuse


def metric_name(*path: str) -> str:
    """Returns the name of a number: `test/accuracy`, `baseline/test/accuracy`, `judge/mean`."""
    return "/".join(path)


def curve_name(column: str) -> str:
    """Returns the name of a history's column: `train_loss` is `train/loss`; `epoch` and the like keep theirs."""
    split, _, figure = column.partition("_")
    return metric_name(split, figure) if split in SPLITS else column


def flatten_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the single numbers of a metrics.json: `test/accuracy`, `test/accuracy_low`, `baseline/test/accuracy`,
    `natural_prevalence/precision`. Null figures, tables and what is measured by label are left out."""
    return dict(_numbers(metrics))


def flatten_answer_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the single numbers of an answers' metrics.json, without null figures. The answers are those to test.

    `train/loss`, `test/perplexity`; `test/exact_match`, `test/chrf`, `test/stopped`, `test/empty`;
    `test/answer_tokens_mean`, `test/answer_characters_median` and the like.
    """
    splits = {
        split: {name: figures[name] for name in ("loss", "perplexity")} for split, figures in metrics["splits"].items()
    }
    answers = metrics["answers"]
    of_answers = {name: answers[name] for name in ("exact_match", "chrf", "stopped", "empty")}
    for unit in ("tokens", "characters"):
        of_answers |= {f"answer_{unit}_{name}": value for name, value in answers[unit].items()}
    return dict(_numbers({**splits, "test": splits["test"] | of_answers}))


def flatten_verdicts(summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the single numbers of a judge's summary.json, without null figures; nothing if there was no judge.
    `judge/mean`, `judge/mean_low`, `judge/unparsed`, `judge/anchor_gap`, `judge/anchor_reference` and the like."""
    if not summary["judged"]:
        return {}
    names = ("mean", "median", "standard_deviation", "scored", "unparsed", "reminded")
    judged = {name: summary[name] for name in names}
    judged |= {f"mean_{bound}": summary["mean_interval"][bound] for bound in ("low", "high")}
    anchors = summary["anchors"]
    judged |= {"anchor_gap": anchors["gap"]} | {f"anchor_{name}": mean for name, mean in anchors["means"].items()}
    return dict(_numbers({"judge": judged}))


def flatten_published(published: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns the published procedure's figures of a training.json: `published/before/train/loss`,
    `published/after/test/accuracy` and so on."""
    return {
        metric_name("published", part, curve_name(name)): value
        for part, figures in published.items()
        for name, value in figures.items()
    }


def _numbers(values: Mapping[str, Any], *path: str) -> Iterator[tuple[str, float]]:
    """Yields every number in nested groups under its name; an interval is two."""
    for name, value in values.items():
        if name == "accuracy_interval":
            yield metric_name(*path, "accuracy_low"), value["low"]
            yield metric_name(*path, "accuracy_high"), value["high"]
        elif isinstance(value, Mapping) and name not in BY_LABEL:
            yield from _numbers(value, *path, name)
        elif isinstance(value, int | float):
            yield metric_name(*path, name), float(value)
