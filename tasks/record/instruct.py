"""What a run's pages show of a model that follows instructions, and of its judge."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from lib.data.entries.files import load_entries
from lib.data.tables import ANSWERS, MEASURED_ANSWERS, VERDICTS, load_table
from lib.errors import ServiceError
from lib.evaluation.flat import flatten_answer_metrics, flatten_published, flatten_verdicts, metric_name
from lib.files.jsonfile import load_json
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.engine.pageless import create_table_artifact
from tasks.record.metrics import CURVES
from tasks.record.mlflow_run import client, log_metrics, log_table, loss_warned, set_tags
from tasks.record.pages import backbone_files, digest_tags
from tasks.record.track import Cell, Pages, by_split, rounded
from tasks.record.view import COMPUTED_TAG, VERDICT_TAG, View
from tasks.secrets import secrets_kept
from tasks.store import artifact_store

SHOWN_ANSWERS = 10  # on Prefect's page; MLflow shows all
LONGEST_CELL = 300  # characters of a text on Prefect's page


SAMPLE = ("epoch", "prompt", "answer")
COMPARED = ("test/loss", "test/chrf", "test/exact_match")
JUDGED = ("judge/mean", "judge/mean_low", "judge/mean_high")  # likewise, once there is a judge
VIEW = View(
    columns={
        ("metrics", "test/loss"): 90,
        ("metrics", "test/chrf"): 90,
        ("metrics", "test/exact_match"): 140,
        ("metrics", "judge/mean"): 110,
        ("tags", VERDICT_TAG): 320,
        ("tags", COMPUTED_TAG): 160,
    },
    charts={"loss": CURVES["loss"]},
)
JUDGE_TAG = "finetune.judge"  # the judge of the run's answers, or why there is none
FAILED = "failed: "


def instruct_pages(recipe: InstructRecipe, made: Mapping[str, Artifact]) -> Pages:
    """Returns what the steps of `made`, by name, produced before the judge."""
    evaluated, trained = made["evaluate_answers"], made["finetune_instructions"]
    published = flatten_published(load_json(trained.file("training.json"))["published"])
    metrics = flatten_answer_metrics(load_json(evaluated.file("metrics.json"))) | published
    answers = answer_table(made["respond"], evaluated)
    samples = load_json(trained.file("training.json"))["samples"]
    tables = {"answers.json": answers}
    if samples:
        tables["samples.json"] = pd.DataFrame({name: [row[name] for row in samples] for name in SAMPLE})
    return Pages(
        metrics=metrics,
        compared=COMPARED,
        view=VIEW,
        splits=made["split_entries"],
        trained=trained,
        evaluated=evaluated,
        files=(
            (evaluated, "metrics.json"),
            (made["entries"], "profile.json"),
            (made["split_entries"], "split.json"),
            (made["tokenize_entries"], "tokens.json"),
            *backbone_files(made["backbone"]),
            (made["respond"], "instruction-data-with-response.json"),
        ),
        table=[*by_split(("loss", "perplexity"), metrics), *_of_answers(metrics)],
        pictures=("loss",),
        logged_tables=tables,
        shown_tables={"answers": (_first(answers), f"The first answers of {recipe.name}")},
        more=_samples(samples),
    )


@task(
    name="track_judge",
    task_run_name="track_judge",
    description="Logs the judge's scores to the MLflow run",
    cache_policy=NO_CACHE,
    persist_result=False,
)
@secrets_kept()
def track_judge(run_id: str, judged: Artifact, respond: Artifact, evaluated: Artifact) -> None:
    """Logs the scores and their figures, with the time at which they were given; done again, it changes nothing."""
    tracking = client()
    summary = load_json(judged.file("summary.json"))
    metrics = flatten_verdicts(summary)
    log_metrics(
        tracking, run_id, {name: metrics[name] for name in JUDGED if name in metrics}, step=0, at=judged_at(judged)
    )
    tracking.log_artifact(run_id, str(judged.file("summary.json")), "judge")
    verdicts = load_table(judged.file("verdicts.parquet"), VERDICTS)
    of_answers = verdicts[verdicts["kind"] == "answer"][["id", "score", "reply", "outcome"]]
    scored = answer_table(respond, evaluated).merge(of_answers, on="id", how="left", validate="one_to_one")
    log_table(tracking, run_id, scored, "judge/answers.json")
    log_table(tracking, run_id, verdicts[verdicts["kind"] != "answer"], "judge/anchors.json")
    anchors = summary["anchors"]
    told = {JUDGE_TAG: summary["judge"]["model"], f"{JUDGE_TAG}.anchors": f"{anchors['verdict']}: {anchors['why']}"}
    set_tags(tracking, run_id, told | digest_tags({"judge": judged}))


def show_verdicts(judged: Artifact) -> None:
    """Shows the judge's figures on Prefect's page."""
    summary = load_json(judged.file("summary.json"))
    rows = [{"figure": name, "value": round(value, 2)} for name, value in flatten_verdicts(summary).items()]
    with loss_warned("Prefect does not show the judge's figures"):
        create_table_artifact(rows, key="judge", description=f"Scores by {summary['judge']['model']}, from 0 to 100")


def run_to_judge(experiment: str, respond: Artifact, judge: str) -> str:
    """Returns the experiment's newest run that has these answers and no scores by another model than `judge`. Raises
    ServiceError if there is none."""
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


def judged_at(judged: Artifact) -> int:
    """Returns when a judge's scores were given, in milliseconds since 1970, as their artifact has it: whoever logs
    them, and however often, logs them with that time, and so MLflow has them once."""
    return round(1000 * artifact_store().manifest(judged.step, judged.key).created.timestamp())


def headline(recipe: InstructRecipe, metrics: Mapping[str, float]) -> str:
    """Returns the run in one sentence."""
    return (
        f"{recipe.name}: test loss {metrics['test/loss']:.3f}, chrF {metrics['test/chrf']:.1f},"
        f" {metrics['test/exact_match']:.1%} of the answers exact"
    )


def answer_table(respond: Artifact, evaluated: Artifact) -> pd.DataFrame:
    """Returns all answers with their references and metrics, and what was said earlier in one text."""
    answers = load_entries(respond.file("answers.parquet"), ANSWERS).drop(columns=["tokens", "stopped"])
    if "earlier" in answers:
        said = ["\n".join(f"{turn.role}: {turn.content}" for turn in turns) for turns in answers.pop("earlier")]
        answers.insert(1, "earlier", said)
    measured = load_table(evaluated.file("measured.parquet"), MEASURED_ANSWERS)
    return answers.rename(columns={"output": "reference"}).merge(measured, on="id", validate="one_to_one")


def _of_answers(metrics: Mapping[str, float]) -> list[dict[str, Cell]]:
    return [
        {"metric": name, "train": None, "validation": None, "test": rounded(metrics[metric_name("test", name)])}
        for name in ("exact_match", "chrf", "stopped", "empty", "answer_tokens_mean")
    ]


def _first(answers: pd.DataFrame) -> list[dict[str, Cell]]:
    columns = [name for name in ("earlier", "instruction", "input", "reference", "response") if name in answers]
    return [
        {column: _shortened(row[column]) for column in columns}
        for row in answers.head(SHOWN_ANSWERS).to_dict("records")
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _samples(samples: list[dict[str, str | int]]) -> str:
    """Returns the answers after each epoch as Markdown, in a fence that no answer can close."""
    return "\n\n".join(
        f"After epoch {sample['epoch']}:\n\n~~~~~~~~\n{sample['answer']}\n~~~~~~~~" for sample in samples
    )
