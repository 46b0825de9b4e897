"""From a file of instructions to a registered GPT that follows them, with its answers judged."""

from __future__ import annotations

from flows.use_cases.facts import instruct_facts
from flows.use_cases.use_case import UseCase
from lib.errors import JudgeError
from lib.files.jsonfile import load_json
from lib.store.artifacts import Artifact
from tasks.engine.runner import Performer
from tasks.record.instruct import FAILED, JUDGE_TAG, instruct_pages, track_judge
from tasks.record.mlflow_run import client, loss_warned, set_tags
from tasks.registry.candidates import instructions_candidate
from tasks.report.instruct import instruct_conclusion
from tasks.steps.backbone import backbone
from tasks.steps.download import download
from tasks.steps.instruct.entries import entries
from tasks.steps.instruct.evaluate import evaluate_answers
from tasks.steps.instruct.finetune import finetune_instructions
from tasks.steps.instruct.judge import judge
from tasks.steps.instruct.respond import respond
from tasks.steps.instruct.split import split_entries
from tasks.steps.instruct.tokenize import tokenize_entries
from tasks.steps.tokenizer import tokenizer

ASK_AGAIN = "`finetune instruct judge` with the same flags asks again"


def judged(perform: Performer) -> dict[str, float]:
    """Performs the judge's step and logs its figures to the MLflow run; none if nobody is to judge. Raises JudgeError
    if the judge cannot be asked."""
    return _tracked(perform, perform(judge))


def judged_if_possible(perform: Performer) -> dict[str, float]:
    """As `judged`; a judge who is away makes its own step fail, and nothing else. Nor does MLflow: the model is
    registered by then."""
    metrics: dict[str, float] = {}
    try:
        verdicts = perform(judge)
    except JudgeError as error:
        perform.outcomes[-1].reason = f"{error}; {ASK_AGAIN}"
        with loss_warned("MLflow does not say that nobody judged the answers"):
            set_tags(client(), perform.run.tracking_run, {JUDGE_TAG: f"{FAILED}{error}"})
        return metrics
    with loss_warned(
        "MLflow does not have the judge's scores: `finetune instruct judge` with the same flags sends them"
    ):
        metrics = _tracked(perform, verdicts)
    return metrics


def _tracked(perform: Performer, verdicts: Artifact) -> dict[str, float]:
    if not load_json(verdicts.file("summary.json"))["judged"]:
        return {}
    return track_judge(perform.run.tracking_run, verdicts, perform.made["respond"], perform.made["evaluate_answers"])


INSTRUCT = UseCase(
    name="instruct",
    flow="finetune-instructions",
    description="From a file of instructions to a registered GPT that follows them, with its answers judged",
    steps=(
        *(download, entries, split_entries, tokenizer, tokenize_entries, backbone),
        *(finetune_instructions, respond, evaluate_answers),
    ),
    trains=finetune_instructions,
    final=(evaluate_answers, judge),
    pages=instruct_pages,
    candidate=instructions_candidate,
    conclude=instruct_conclusion,
    facts=instruct_facts,
    last=(judge,),
    afterwards=judged_if_possible,
)
