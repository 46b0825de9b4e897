"""What a finished run of a model that follows instructions looks like in MLflow and on Prefect's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect import task
from prefect.artifacts import create_table_artifact

from lib.data.tables import ANSWERS, MEASURED_ANSWERS, SPLITS, VERDICTS, load_table
from lib.errors import ServiceError
from lib.evaluation.flat import flatten_answer_metrics, flatten_verdicts
from lib.files.jsonfile import load_json
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.record.mlflow_run import client, log_metrics, set_tags
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

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ANSWERS = 10  # on Prefect's page; MLflow has all
LONGEST_CELL = 300  # characters of a text there


@task(
    name="track",
    task_run_name="track",
    description="Logs datasets, curves, metrics, answers and digests to the MLflow run",
)
def track(run_id: str, recipe: InstructRecipe, artifacts: dict[str, Artifact], finetune_state: str) -> dict[str, float]:
    """Logs all that the steps before the judge produced; returns the final metrics by MLflow's names."""
    tracking = client()
    log_recipe(tracking, run_id, recipe)
    log_datasets(tracking, run_id, datasets(recipe.data.source, artifacts["split_entries"]))

    finetuned, evaluated = artifacts["finetune_instructions"], artifacts["evaluate_answers"]
    history, source = log_curves(tracking, run_id, finetuned, cached=finetune_state == "cached")
    metrics = flatten_answer_metrics(load_json(evaluated.file("metrics.json"))) | published_metrics(finetuned)
    log_final_metrics(tracking, run_id, metrics, history)
    tracking.log_artifacts(run_id, str(evaluated.file("figures")), "figures")
    for artifact, name in [
        (evaluated, "metrics.json"),
        (artifacts["entries"], "profile.json"),
        (artifacts["split_entries"], "split.json"),
        (artifacts["tokenize_entries"], "tokens.json"),
        (artifacts["backbone"], "sanity.txt"),
        (artifacts["respond"], "instruction-data-with-response.json"),
    ]:
        tracking.log_artifact(run_id, str(artifact.file(name)))
    answers = answer_table(artifacts["respond"], evaluated)
    tracking.log_table(run_id, answers, "answers.json")
    samples = load_json(finetuned.file("training.json"))["samples"]
    if samples:
        tracking.log_table(run_id, {name: [row[name] for row in samples] for name in SAMPLE}, "samples.json")
    run = tracking.get_run(run_id)
    note = f"{headline(recipe, metrics)}\n\n[This run in Prefect]({run.data.tags['prefect.flow_run_url']})"
    set_tags(tracking, run_id, digest_tags(artifacts) | source | {"mlflow.note.content": note})
    _show_metrics(recipe, metrics)
    create_table_artifact(_first(answers), key="answers", description=f"The first answers of {recipe.name}")
    show_in_prefect(
        page_in_mlflow(tracking, run_id),
        headline=headline(recipe, metrics),
        recipe=recipe.name,
        pictures={"loss": evaluated},
        more=_samples(samples),
    )
    return metrics


SAMPLE = ("epoch", "prompt", "answer")
JUDGE_TAG = "finetune.judge"  # who judged the run's answers, or why nobody did
FAILED = "failed: "


@task(name="track_judge", task_run_name="track_judge", description="Logs the judge's scores to the MLflow run")
def track_judge(run_id: str, judged: Artifact, respond: Artifact, evaluated: Artifact) -> dict[str, float]:
    """Logs the scores and their figures; returns the figures by MLflow's names."""
    tracking = client()
    summary = load_json(judged.file("summary.json"))
    metrics = flatten_verdicts(summary)
    log_metrics(tracking, run_id, metrics, step=0)
    tracking.log_artifact(run_id, str(judged.file("summary.json")), "judge")
    verdicts = load_table(judged.file("verdicts.parquet"), VERDICTS)
    of_answers = verdicts[verdicts["kind"] == "answer"][["id", "score", "reply", "outcome"]]
    scored = answer_table(respond, evaluated).merge(of_answers, on="id", how="left", validate="one_to_one")
    tracking.log_table(run_id, scored, "judge/answers.json")
    tracking.log_table(run_id, verdicts[verdicts["kind"] != "answer"], "judge/anchors.json")
    anchors = summary["anchors"]
    told = {
        JUDGE_TAG: summary["judge"]["model"],
        f"{JUDGE_TAG}.anchors": f"{anchors['verdict']}: {anchors['why']}",
    }
    set_tags(tracking, run_id, told | digest_tags({"judge": judged}))
    rows = [{"figure": name, "value": round(value, 2)} for name, value in metrics.items()]
    create_table_artifact(rows, key="judge", description=f"Scores by {summary['judge']['model']}, from 0 to 100")
    return metrics


def run_to_judge(experiment: str, respond: Artifact, judge: str) -> str:
    """The newest MLflow run of the experiment that has these answers and no scores by another model than `judge`.

    Raises ServiceError if there is none.
    """
    tracking = client()
    found = tracking.get_experiment_by_name(experiment)
    wanted = f"tags.`artifact.respond` = '{respond.digest}'"
    for run in tracking.search_runs([found.experiment_id], wanted) if found else []:
        known = run.data.tags.get(JUDGE_TAG, FAILED)
        if known.startswith(FAILED) or known == judge:
            return str(run.info.run_id)
    raise ServiceError(
        f"MLflow has no run with these answers that waits for scores by {judge}: run the recipe once more with that"
        " judge, which reuses the answers"
    )


def headline(recipe: InstructRecipe, metrics: Mapping[str, float]) -> str:
    """The run in one sentence."""
    return (
        f"{recipe.name}: test loss {metrics['test_loss']:.3f}, chrF {metrics['chrf']:.1f},"
        f" {metrics['exact_match']:.1%} of the answers exact"
    )


def answer_table(respond: Artifact, evaluated: Artifact) -> pd.DataFrame:
    """All answers beside their references, with what was measured of each."""
    answers = load_table(respond.file("answers.parquet"), ANSWERS).drop(columns=["tokens", "stopped"])
    measured = load_table(evaluated.file("measured.parquet"), MEASURED_ANSWERS)
    return answers.rename(columns={"output": "reference"}).merge(measured, on="id", validate="one_to_one")


def _show_metrics(recipe: InstructRecipe, metrics: Mapping[str, float]) -> None:
    rows: list[dict[str, str | float | None]] = [
        {"metric": name, **{split: _rounded(metrics.get(f"{split}_{name}")) for split in SPLITS}}
        for name in ("loss", "perplexity")
    ]
    answers = ("exact_match", "chrf", "stopped", "empty", "answer_tokens_mean")
    rows += [{"metric": name, "train": None, "validation": None, "test": _rounded(metrics[name])} for name in answers]
    create_table_artifact(rows, key="metrics", description=f"Metrics of {recipe.name}")


def _first(answers: pd.DataFrame) -> list[dict[str, str]]:
    columns = ["instruction", "input", "reference", "response"]
    return [
        {column: _shortened(row[column]) for column in columns}
        for row in answers.head(SHOWN_ANSWERS).to_dict("records")
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _samples(samples: list[dict[str, str | int]]) -> str:
    """What the model answered after each epoch, as Markdown; a fence that no answer can close."""
    return "\n\n".join(
        f"After epoch {sample['epoch']}:\n\n~~~~~~~~\n{sample['answer']}\n~~~~~~~~" for sample in samples
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
