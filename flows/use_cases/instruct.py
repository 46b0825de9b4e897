"""From a file of instructions to a registered GPT that follows them, with its answers judged."""

from __future__ import annotations

from flows.use_cases.facts import instruct_facts
from flows.use_cases.use_case import Artifacts, UseCase
from lib.errors import JudgeError
from lib.evaluation.flat import flatten_verdicts
from lib.files.jsonfile import load_json
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.engine.page import shown
from tasks.engine.runner import Performer
from tasks.record.instruct import FAILED, JUDGE_TAG, instruct_pages, show_verdicts, track_judge
from tasks.record.recording import Recording
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


def judged(perform: Performer) -> Artifact:
    """Performs the judge's step, and shows what it came to. Raises JudgeError if the judge cannot be asked."""
    verdicts = perform(judge)
    if judges_metrics(perform.made):
        show_verdicts(verdicts)
    return verdicts


def judged_if_possible(perform: Performer) -> dict[str, str]:
    """As `judged`; a judge who is away makes its own step fail, and nothing else: the model is registered by then.
    Returns the tag of the MLflow run that says so."""
    try:
        judged(perform)
    except JudgeError as error:
        perform.outcomes[-1].reason = f"{error}; {ASK_AGAIN}"
        return {JUDGE_TAG: f"{FAILED}{error}"}
    return {}


def judges_metrics(made: Artifacts) -> dict[str, float]:
    """What the judge measured; nothing if nobody judged."""
    return flatten_verdicts(load_json(made["judge"].file("summary.json"))) if "judge" in made else {}


def track_verdicts(recording: Recording, made: Artifacts) -> None:
    """Logs what the judge said to the MLflow run, if somebody judged. Raises `FAILURES`."""
    if judges_metrics(made):
        _, run_id = recording.open()
        shown(track_judge)(run_id, made["judge"], made["respond"], made["evaluate_answers"])


INSTRUCT = UseCase(
    name="instruct",
    flow="finetune-instructions",
    description="From a file of instructions to a registered GPT that follows them, with its answers judged",
    recipe=InstructRecipe,
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
    last_metrics=judges_metrics,
    track_last=track_verdicts,
)
