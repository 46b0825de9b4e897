"""What a run's pages show of a classifier."""

from __future__ import annotations

from collections.abc import Mapping

from lib.evaluation.flat import flatten_metrics, flatten_published
from lib.files.jsonfile import load_json
from lib.inference.engines.saved import TABLE
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from tasks.record.engine import engine_table, served_with
from tasks.record.pages import backbone_files
from tasks.record.track import Pages, by_split

SHOWN = ("accuracy", "precision", "recall", "f1", "mcc", "roc_auc", "log_loss")


def classifier_pages(recipe: ClassifyRecipe, made: Mapping[str, Artifact], features: str) -> Pages:
    """Returns what the steps of `made`, by name, produced. `features`: whether they are cached, and why."""
    evaluated, trained = made["evaluate"], made["finetune"]
    published = flatten_published(load_json(trained.file("training.json"))["published"])
    metrics = flatten_metrics(load_json(evaluated.file("metrics.json"))) | published
    engines = engine_table(made["engine"])
    return Pages(
        headline=headline(recipe, metrics),
        metrics=metrics,
        splits=made["holdout"],
        trained=trained,
        evaluated=evaluated,
        files=(
            (evaluated, "report.html"),
            (evaluated, "metrics.json"),
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


def headline(recipe: ClassifyRecipe, metrics: Mapping[str, float]) -> str:
    """Returns the run in one sentence."""
    low, high = metrics["test/accuracy_low"], metrics["test/accuracy_high"]
    return (
        f"{recipe.name}: test accuracy {metrics['test/accuracy']:.2%}"
        f" ({recipe.evaluation.confidence:.0%} interval {low:.2%} to {high:.2%})"
    )
