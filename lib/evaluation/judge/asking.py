"""Asks a judge, a larger model, to score answers against their references, from 0 to 100.

The wording is the published procedure's, with three differences. An empty answer is judged like any other (one
published script gives it 0 unasked). After a reply that is not an integer from 0 to 100 the judge is reminded in the
same conversation (at temperature 0 the same question would bring the same reply); a reply that is no score even then is
kept and counted. And the judge itself is tested, with anchors whose order is known.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib.errors import JudgeError, RecipeError
from lib.evaluation.judge.cache import ReplyCache
from lib.evaluation.judge.protocol import Ask, AskError, JudgeServer, Messages
from lib.evaluation.judge.summary import EMPTY, HIGHEST, OTHER, REFERENCE, assess, summarise
from lib.progress import Progress, silent
from lib.text.prompts import STYLES
from lib.text.turns import Turn

ANSWER = "answer"  # the kind of a verdict on an answer rather than on an anchor
RETRY_SECONDS = (1.0, 5.0, 25.0)
REMINDER = "That was not an integer from 0 to 100. Respond with one such integer and no other text."
NOTHING = "(no text)"  # replaces an empty reply in a conversation, because some servers refuse empty messages


@dataclass(frozen=True)
class Question:
    """An answer to be judged: `response` to `instruction` and `input` (may be empty), beside the reference `output`.

    `id` is the entry's row number in the source file; `earlier` are the turns before the instruction.
    """

    id: int
    instruction: str
    input: str
    output: str
    response: str
    earlier: Sequence[Turn] = ()


@dataclass(frozen=True)
class Verdict:
    """The judge's verdict on one answer.

    kind: `answer`, or the kind of anchor: `reference`, `empty`, `other`.
    score: 0 to 100, or None: `reply` is no score, or `failure` says why there is no reply, and what to do.
    reply: the judge's last reply, at most 2,000 characters.
    reminders: how often the judge was reminded to answer with an integer.
    """

    id: int
    kind: str
    score: int | None
    reply: str
    reminders: int
    failure: str = ""

    @property
    def outcome(self) -> str:
        """`scored`, `unparsed` or `failed`."""
        if self.score is not None:
            return "scored"
        return "failed" if self.failure else "unparsed"


@dataclass(frozen=True)
class Judgement:
    """All verdicts, in the order of the questions, and their figures, ready for JSON (see `judge`)."""

    answers: tuple[Verdict, ...]
    anchors: tuple[Verdict, ...]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Asking:
    """How a judge is asked. Raises RecipeError for an impossible number.

    parallel: concurrent requests, at most.
    retry_seconds: waits before each retry after a temporary failure; a server that asks for more gets it.
    reminders: how often the judge is reminded when its reply is not an integer from 0 to 100.
    give_up_after: consecutive failed questions, retries included, after which judging ends.
    """

    parallel: int = 4
    retry_seconds: Sequence[float] = RETRY_SECONDS
    reminders: int = 1
    give_up_after: int = 5

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise RecipeError(f"The judge's parallel requests are {self.parallel}: use a number from 1")


def judge(
    questions: Sequence[Question],
    server: JudgeServer,
    replies: ReplyCache,
    asking: Asking,
    *,
    anchors: int = 10,
    seed: int = 123,
    confidence: float = 0.95,
    progress: Progress = silent,
) -> Judgement:
    """Asks a judge about every answer and returns the verdicts and a summary.

    The summary has `judge` (api, model, options), the figures of `summarise`, how many answers are `unparsed`, `failed`
    or `reminded`, and under `anchors` those of `assess`.

    Args:
        replies: questions with a cached reply are not asked; any number of runs may share the cache.
        anchors: this many entries, drawn with `seed`, are also judged with answers whose order is known.
        seed: draws the anchors' entries, and the samples behind the confidence interval.
        confidence: of the interval, between 0 and 1.
        progress: called in the caller's thread after each question, cached ones included.

    Raises:
        JudgeError: no server, no such model, a refused key, or a server that keeps failing. Replies so far are cached.
        RecipeError: no answers, or an impossible number.
        StoreError: the cache cannot be written.
    """
    if not questions:
        raise RecipeError("There are no answers to judge: choose a split that is not empty")
    known_order = list(anchor_questions(questions, anchors, seed))
    asked = [*questions, *(question for _, question in known_order)]
    verdicts = asyncio.run(_Hearing(server, replies, asking).verdicts(asked, progress))
    answers = tuple(verdicts[: len(questions)])
    tested = tuple(
        replace(verdict, kind=kind) for (kind, _), verdict in zip(known_order, verdicts[len(answers) :], strict=True)
    )
    figures = summarise([verdict.score for verdict in answers], confidence=confidence, seed=seed)
    summary = {
        "judge": {"api": server.api, "model": server.model, "options": dict(server.options)},
        **figures,
        "unparsed": sum(verdict.outcome == "unparsed" for verdict in answers),
        "failed": sum(verdict.outcome == "failed" for verdict in answers),
        "reminded": sum(verdict.reminders > 0 for verdict in answers),
        "anchors": assess(_by_entry(tested)),
    }
    return Judgement(answers, tested, summary)


def judge_prompt(question: Question) -> str:
    """Returns the question as published, whichever prompt style the answering model was trained with."""
    request = STYLES["alpaca"].prompt(question.instruction, question.input, question.earlier)
    return (
        f"Given the input `{request}` and correct output `{question.output}`, score the model response"
        f" `{question.response}` on a scale from 0 to 100, where 100 is the best score."
        " Respond with the integer number only."
    )


def parse_score(reply: str) -> int | None:
    """Returns the score if the reply is an integer from 0 to 100 and nothing else but surrounding space.

    No number is extracted from a sentence: "I would not give it 100" has one too.
    """
    found = re.fullmatch(r"[0-9]{1,3}", reply.strip())
    return int(found[0]) if found and int(found[0]) <= HIGHEST else None


def anchor_questions(questions: Sequence[Question], entries: int, seed: int) -> Iterator[tuple[str, Question]]:
    """Yields for each of `entries` drawn entries the same question with answers of known worth, and their kinds.

    `reference`: the reference output itself. `empty`: no answer. `other`: another entry's reference output, left out
    where all entries have the same output. Entries with an empty output are not drawn.
    """
    generator = random.Random(seed)
    fit = [question for question in questions if question.output.strip()]
    for question in generator.sample(fit, min(entries, len(fit))):
        yield REFERENCE, replace(question, response=question.output)
        yield EMPTY, replace(question, response="")
        others = [other.output for other in fit if other.output.casefold() != question.output.casefold()]
        if others:
            yield OTHER, replace(question, response=generator.choice(others))


def _by_entry(anchors: Sequence[Verdict]) -> list[dict[str, int | None]]:
    """Groups the anchors' scores by entry, then kind; each entry begins with its reference."""
    entries: list[dict[str, int | None]] = []
    for verdict in anchors:
        if verdict.kind == REFERENCE:
            entries.append({})
        entries[-1][verdict.kind] = verdict.score
    return entries


@dataclass
class _Hearing:
    """The questions of one call, and what they learn together about the server."""

    server: JudgeServer
    replies: ReplyCache
    asking: Asking
    answered: bool = False  # the server has replied at least once
    failed_in_a_row: int = 0

    async def verdicts(self, questions: Sequence[Question], progress: Progress) -> list[Verdict]:
        """Returns a verdict for each question; questions with the same wording are asked once. One worker per
        concurrent request takes prompts from one list. If a worker raises, the others are cancelled."""
        prompts = [judge_prompt(question) for question in questions]
        alike = Counter(prompts)
        waiting = iter(alike.items())
        found: dict[str, Verdict] = {}
        done = 0

        async def work(ask: Ask) -> None:
            nonlocal done
            for prompt, questions_alike in waiting:
                found[prompt] = await self._verdict(ask, prompt)
                done += questions_alike
                progress(done, len(prompts), "answers")

        try:
            async with self.server.open() as ask, asyncio.TaskGroup() as workers:
                for _ in range(self.asking.parallel):
                    workers.create_task(work(ask))
        except AskError as error:  # of `open`
            raise JudgeError(str(error)) from error
        except ExceptionGroup as several:
            first = several.exceptions[0]
            raise first from first.__cause__
        return [replace(found[prompt], id=question.id) for prompt, question in zip(prompts, questions, strict=True)]

    async def _verdict(self, ask: Ask, prompt: str) -> Verdict:
        """Returns the verdict on one prompt, its id still unknown."""
        verdict = Verdict(id=-1, kind=ANSWER, score=None, reply="", reminders=0)
        messages: Messages = [{"role": "user", "content": prompt}]
        try:
            for reminders in range(1 + self.asking.reminders):
                reply = await self._reply(ask, messages)
                verdict = replace(verdict, score=parse_score(reply), reply=reply, reminders=reminders)
                if verdict.score is not None:
                    break
                messages = [
                    *messages,
                    {"role": "assistant", "content": reply or NOTHING},
                    {"role": "user", "content": REMINDER},
                ]
        except AskError as error:
            self._count_failure(error)
            return replace(verdict, failure=str(error))
        return verdict

    async def _reply(self, ask: Ask, messages: Messages) -> str:
        """Returns the cached reply, or asks the server and caches its reply."""
        asked = self._identity(messages)
        known = self.replies.find(asked)
        if known is not None:
            return known
        reply = await self._fresh_reply(ask, messages)
        self.replies.keep(asked, reply)
        return reply

    async def _fresh_reply(self, ask: Ask, messages: Messages) -> str:
        for wait in self.asking.retry_seconds:
            try:
                return await self._single_try(ask, messages)
            except AskError as error:
                if self._is_final(error):
                    raise
                await asyncio.sleep(max(wait, error.wait))
        return await self._single_try(ask, messages)

    async def _single_try(self, ask: Ask, messages: Messages) -> str:
        reply = await ask(messages)
        self.answered, self.failed_in_a_row = True, 0
        return reply

    def _is_final(self, error: AskError) -> bool:
        """Whether a retry would fail too. A server that has never replied is taken to be absent."""
        return not error.temporary or (error.everyone and not self.answered)

    def _count_failure(self, error: AskError) -> None:
        """Counts a question without a reply; raises JudgeError if the failure concerns all questions."""
        self.failed_in_a_row += 1
        if error.everyone and self._is_final(error):
            raise JudgeError(str(error)) from error
        if self.failed_in_a_row >= self.asking.give_up_after:
            raise JudgeError(f"{self.failed_in_a_row} questions to the judge failed in a row; {error}") from error

    def _identity(self, messages: Messages) -> Mapping[str, Any]:
        server = self.server
        return {"api": server.api, "model": server.model, "options": dict(server.options), "messages": list(messages)}
