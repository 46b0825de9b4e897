"""A metrics.json as flat names and numbers, for a tracking server and for tables.

A module of its own, because a run whose evaluation is cached reads the figures and must not import what computes them.
"""

from collections.abc import Mapping
from typing import Any

# How the flat names of `flatten_metrics` begin; the parts not named here keep their own name.
PREFIXES = {"baseline": "baseline_test", "natural_prevalence": "natural"}


def flatten_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers of a metrics.json by flat name: `test_accuracy`, `test_accuracy_low`, `natural_precision`.

    The baseline's begin with `baseline_test_`, those at natural prevalence with `natural_`. Null figures, tables
    and the classes' own figures (whose labels a tracking server may refuse as names) are left out.
    """
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
