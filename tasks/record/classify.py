"""What a run's pages show of a classifier."""

from __future__ import annotations

from collections.abc import Mapping

from lib.evaluation.classify.label_check import SUSPECTS
from lib.evaluation.flat import flatten_metrics, flatten_published, metric_name
from lib.files.jsonfile import load_json
from lib.inference.engines.saved import TABLE
from lib.store.artifacts import Artifact
from tasks.record.engine import engine_table, served_with
from tasks.record.metrics import CURVES
from tasks.record.pages import backbone_files
from tasks.record.track import Pages, by_split
from tasks.record.view import COMPUTED_TAG, VERDICT_TAG, View

SHOWN = ("accuracy", "precision", "recall", "f1", "mcc", "roc_auc", "log_loss")
OVER_BASELINE = metric_name("test", "over_baseline")  # how much more accurate the classifier is than the baseline
COMPARED = ("test/accuracy", "test/f1", OVER_BASELINE, "baseline/test/accuracy")
DIGITS = 9  # of that difference: more are rounding errors
VIEW = View(
    columns={
        ("metrics", "test/accuracy"): 110,
        ("metrics", OVER_BASELINE): 140,
        ("tags", VERDICT_TAG): 320,
        ("tags", COMPUTED_TAG): 160,
    },
    charts=CURVES,
)


def classifier_pages(made: Mapping[str, Artifact], features: str) -> Pages:
    """Returns what the steps of `made`, by name, produced. `features`: whether they are cached, and why."""
    evaluated, trained = made["evaluate"], made["finetune"]
    published = flatten_published(load_json(trained.file("training.json"))["published"])
    metrics = over_baseline(flatten_metrics(load_json(evaluated.file("metrics.json")))) | published
    engines = engine_table(made["engine"])
    return Pages(
        metrics=metrics,
        compared=COMPARED,
        view=VIEW,
        splits=made["holdout"],
        trained=trained,
        evaluated=evaluated,
        files=(
            (evaluated, "metrics.json"),
            (made["cross_validate"], SUSPECTS),
            (made["messages"], "profile.json"),
            (made["holdout"], "split.json"),
            (made["tokenize"], "tokens.json"),
            (made["engine"], TABLE),
            *backbone_files(made["backbone"]),
        ),
        table=by_split(SHOWN, metrics),
        shown_tables={"engines": (engines, "What the classifier could be served with")} if engines else {},
        pictures=("loss", "accuracy"),
        tags={"finetune.features": features, "finetune.engine": served_with(made["engine"])},
    )


def over_baseline(metrics: Mapping[str, float]) -> dict[str, float]:
    """Adds the difference between the accuracies of the classifier and of the baseline, if that was measured."""
    baseline = metrics.get("baseline/test/accuracy")
    return {
        **metrics,
        **({} if baseline is None else {OVER_BASELINE: round(metrics["test/accuracy"] - baseline, DIGITS)}),
    }
