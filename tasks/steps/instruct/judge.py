"""Lets a judge score the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.entries.files import earlier_turns, load_entries
from lib.data.tables import ANSWERS, VERDICTS, save_table
from lib.errors import JudgeError
from lib.files.jsonfile import save_json
from tasks.engine.step import Work, step
from tasks.environment import home

if TYPE_CHECKING:
    from lib.evaluation.judge.protocol import JudgeServer
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact

RETRY_SECONDS = (1.0, 5.0, 25.0)  # before each retry; the last one repeats


@step(
    "judge",
    reads=["judge", "evaluation.confidence"],
    # The judge's address and the request rate change no verdict.
    unkeyed=["judge.url", "judge.key_variable", "judge.parallel", "judge.retries", "judge.timeout"],
)
def judge(work: Work[InstructRecipe], respond: Artifact) -> None:
    """Lets another model score every answer: `summary.json`, `verdicts.parquet`; without a judge only a summary that
    says so.

    Replies are cached in `$FINETUNE_HOME/judge`, so that a later run asks only new questions. Raises JudgeError if any
    answer could not be asked about: a summary of some would be misleading.
    """
    settings = work.recipe.judge
    if settings.provider == "off":
        save_json({"judged": False}, work.folder / "summary.json")
        return
    import pandas as pd

    from lib.evaluation.judge.asking import Asking, Question
    from lib.evaluation.judge.asking import judge as ask
    from lib.evaluation.judge.cache import ReplyCache

    answers = load_entries(respond.file("answers.parquet"), ANSWERS)
    texts = (answers[name] for name in ("id", "instruction", "input", "output", "response"))
    questions = [Question(*row) for row in zip(*texts, earlier_turns(answers), strict=True)]
    waits = (*RETRY_SECONDS, *RETRY_SECONDS[-1:] * settings.retries)[: settings.retries]
    judgement = ask(
        questions,
        _server(work.recipe),
        ReplyCache(home() / "judge", work.log.warning),
        Asking(settings.parallel, waits, settings.reminders),
        anchors=settings.anchors,
        seed=settings.seed,
        confidence=work.recipe.evaluation.confidence,
        progress=work.progress,
    )
    failed = [verdict for verdict in (*judgement.answers, *judgement.anchors) if verdict.outcome == "failed"]
    if failed:
        raise JudgeError(
            f"the judge gave no verdict on {len(failed)} of {len(judgement.answers) + len(judgement.anchors)} answers,"
            f" and only those are asked about the next time; of the first: {failed[0].failure}"
        )
    anchors = judgement.summary["anchors"]
    if anchors["verdict"] in ("suspect", "broken"):
        work.warn(f"the judge is {anchors['verdict']}: {anchors['why']}")
    verdicts = pd.DataFrame([{**vars(v), "outcome": v.outcome} for v in (*judgement.answers, *judgement.anchors)])
    save_table(verdicts, work.folder / "verdicts.parquet", VERDICTS)
    save_json({"judged": True, **judgement.summary}, work.folder / "summary.json")


def _server(recipe: InstructRecipe) -> JudgeServer:
    from lib.evaluation.judge.servers import OPENAI_ADDRESS, OllamaServer, OpenAIServer

    settings = recipe.judge
    options = {"seed": settings.seed, "temperature": settings.temperature}
    if settings.provider == "ollama":
        return OllamaServer(
            settings.model, settings.url or "", {**options, "num_ctx": settings.num_ctx}, timeout=settings.timeout
        )
    return OpenAIServer(
        settings.model,
        settings.url or OPENAI_ADDRESS,
        options,
        timeout=settings.timeout,
        key_variable=settings.key_variable,
    )
