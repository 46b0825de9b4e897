"""Flattens metrics.json to names and numbers, for MLflow and for tables.

Separate from the evaluations, so that a run with a cached evaluation does not import what computes it.
"""

from collections.abc import Mapping
from typing import Any

# How the flat names of `flatten_metrics` begin; the parts not named here keep their own name.
PREFIXES = {"baseline": "baseline_test", "natural_prevalence": "natural"}


def flatten_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the single numbers of a metrics.json: `test_accuracy`, `test_accuracy_low`, `natural_precision`. Null
    figures, tables and the metrics per class (MLflow may refuse labels as names) are left out."""
    flat: dict[str, float] = {}
    for part, figures in metrics.items():
        prefix = PREFIXES.get(part, part)
        for name, value in (figures or {}).items():
            if name == "accuracy_interval":
                flat[f"{prefix}_accuracy_low"] = value["low"]
                flat[f"{prefix}_accuracy_high"] = value["high"]
            elif isinstance(value, int | float):
                flat[f"{prefix}_{name}"] = float(value)
    return flat


def flatten_answer_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the single numbers of an answers' metrics.json; null figures are left out.

    `test_loss`, `test_perplexity`; `exact_match`, `chrf`, `stopped`, `empty`; `answer_tokens_mean`,
    `answer_characters_median` and the like.
    """
    named: dict[str, Any] = {}
    for split, figures in metrics["splits"].items():
        named |= {f"{split}_{name}": figures[name] for name in ("loss", "perplexity")}
    answers = metrics["answers"]
    named |= {name: answers[name] for name in ("exact_match", "chrf", "stopped", "empty")}
    for unit in ("tokens", "characters"):
        named |= {f"answer_{unit}_{name}": value for name, value in answers[unit].items()}
    return _numbers(named)


def flatten_verdicts(summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the single numbers of a judge's summary.json, without null figures; nothing if there was no judge.
    `judge_mean`, `judge_mean_low`, `judge_unparsed`, `judge_anchor_gap`, `judge_anchor_reference` and the like."""
    if not summary["judged"]:
        return {}
    names = ("mean", "median", "standard_deviation", "scored", "unparsed", "reminded")
    named = {f"judge_{name}": summary[name] for name in names}
    named |= {f"judge_mean_{bound}": summary["mean_interval"][bound] for bound in ("low", "high")}
    anchors = summary["anchors"]
    named |= {"judge_anchor_gap": anchors["gap"]}
    named |= {f"judge_anchor_{name}": mean for name, mean in anchors["means"].items()}
    return _numbers(named)


def _numbers(named: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in named.items() if value is not None}
