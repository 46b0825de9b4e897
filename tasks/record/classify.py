"""What a finished run of a classifier looks like in MLflow and on Prefect's page."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task
from prefect.artifacts import create_table_artifact

from lib.data.tables import SPLITS
from lib.files.jsonfile import load_json
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from tasks.record.mlflow_run import client, set_tags
from tasks.record.pages import (
    datasets,
    digest_tags,
    log_curves,
    log_datasets,
    log_final_metrics,
    log_recipe,
    page_in_mlflow,
    published_metrics,
    show_in_prefect,
)

SHOWN = ("accuracy", "precision", "recall", "f1", "mcc", "roc_auc", "log_loss")


@task(
    name="track",
    task_run_name="track",
    description="Logs datasets, curves, metrics, figures and digests to the MLflow run",
)
def track(
    run_id: str, recipe: ClassifyRecipe, artifacts: dict[str, Artifact], finetune_state: str, features: str
) -> dict[str, float]:
    """Logs all that the steps produced; returns the final metrics by MLflow's names.

    features: whether features are kept, and why.
    """
    from lib.evaluation.flat import flatten_metrics

    tracking = client()
    log_recipe(tracking, run_id, recipe)
    log_datasets(tracking, run_id, datasets(recipe.data.source, artifacts["holdout"]))

    finetuned, evaluated = artifacts["finetune"], artifacts["evaluate"]
    history, source = log_curves(tracking, run_id, finetuned, cached=finetune_state == "cached")
    metrics = flatten_metrics(load_json(evaluated.file("metrics.json"))) | published_metrics(finetuned)
    log_final_metrics(tracking, run_id, metrics, history)
    tracking.log_artifacts(run_id, str(evaluated.file("figures")), "figures")
    for artifact, name in [
        (evaluated, "report.html"),
        (evaluated, "metrics.json"),
        (artifacts["messages"], "profile.json"),
        (artifacts["holdout"], "split.json"),
        (artifacts["tokenize"], "tokens.json"),
        (artifacts["backbone"], "sanity.txt"),
    ]:
        tracking.log_artifact(run_id, str(artifact.file(name)))
    run = tracking.get_run(run_id)
    note = f"{headline(recipe, metrics)}\n\n[This run in Prefect]({run.data.tags['prefect.flow_run_url']})"
    told = {
        "finetune.features": features,
        "mlflow.note.content": note,
    }
    set_tags(tracking, run_id, digest_tags(artifacts) | source | told)
    table = [
        {"metric": name, **{split: _rounded(metrics.get(f"{split}_{name}")) for split in SPLITS}} for name in SHOWN
    ]
    create_table_artifact(table, key="metrics", description=f"Metrics of {recipe.name}, over all rows of each split")
    show_in_prefect(
        page_in_mlflow(tracking, run_id),
        headline=headline(recipe, metrics),
        recipe=recipe.name,
        pictures={"loss": evaluated, "accuracy": evaluated},
    )
    return metrics


def headline(recipe: ClassifyRecipe, metrics: Mapping[str, float]) -> str:
    """The run in one sentence."""
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    return (
        f"{recipe.name}: test accuracy {metrics['test_accuracy']:.2%}"
        f" ({recipe.evaluation.confidence:.0%} interval {low:.2%} to {high:.2%})"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
