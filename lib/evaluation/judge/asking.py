"""Scores from a judge: a larger model reads each answer beside its reference and says how good it is, 0 to 100.

This module holds the question's wording, what a reply means, and asking many questions: several at a time, again where
that can help, none twice. Servers and their protocols are in `servers.py`, replies on disk in `cache.py`, figures in
`summary.py`.

The wording is the published procedure's. Three things are not. An empty answer is put to the judge like any other (one
published script gives it 0 unasked). A reply that is no integer from 0 to 100 is not dropped: the judge is reminded,
in the same conversation, because at temperature 0 the same question would bring the same reply; what is no score then
either is kept as it is, and counted. And the judge itself is tested, with anchors whose order is known.
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

ANSWER = "answer"  # the kind of a verdict that is about an answer, not about an anchor
RETRY_SECONDS = (1.0, 5.0, 25.0)
REMINDER = "That was not an integer from 0 to 100. Respond with one such integer and no other text."
NOTHING = "(no text)"  # stands for an empty reply in a conversation: some servers refuse empty messages


@dataclass(frozen=True)
class Question:
    """One answer to be judged: `response` to `instruction` and `input` (may be empty), beside the reference `output`.

    `id` is the entry's row number in the source file.
    """

    id: int
    instruction: str
    input: str
    output: str
    response: str


@dataclass(frozen=True)
class Verdict:
    """What the judge said of one answer.

    kind: `answer`, or which anchor the answer is: `reference`, `empty`, `other`.
    score: 0 to 100, or None: `reply` is no score, or `failure` says why there is no reply, and what to do.
    reply: the judge's last words, at most 2,000 characters.
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
    """How hard a judge is asked.

    parallel: questions that are with the server at the same time, at most.
    retry_seconds: how long to wait before each further try of a question that failed for a passing reason; a server
        that asks for more gets it.
    reminders: how often the judge is reminded when its reply is no integer from 0 to 100.
    give_up_after: so many questions that failed in a row, all tries included, end it all.

    Raises RecipeError for a number that cannot be meant.
    """

    parallel: int = 4
    retry_seconds: Sequence[float] = RETRY_SECONDS
    reminders: int = 1
    give_up_after: int = 5

    def __post_init__(self) -> None:
        """Refuse to wait for nobody."""
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
    """Ask a judge about every answer.

    Args:
        questions: the answers to be judged.
        server: who judges.
        replies: what it has is not asked. Any number of runs may share it.
        anchors: so many entries, drawn with `seed`, are also judged with answers whose order is known.
        seed: draws the anchors' entries, and the samples behind the confidence interval.
        confidence: of the interval, between 0 and 1.
        progress: called in the caller's thread after each question, those found in the cache included.

    Returns:
        Verdicts, and a summary: `judge` (api, model, options), the figures of `summarise`, how many
        answers are `unparsed`, `failed` or had to be `reminded`, and under `anchors` those of `assess`.

    Raises:
        JudgeError: no server, no such model, a refused key, or a server that keeps failing. Replies that came until
            then are in the cache.
        RecipeError: no answers, or a number that cannot be meant.
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
    """The question to the judge, as published; whatever style the answering model was trained with."""
    request = STYLES["alpaca"].prompt(question.instruction, question.input)
    return (
        f"Given the input `{request}` and correct output `{question.output}`, score the model response"
        f" `{question.response}` on a scale from 0 to 100, where 100 is the best score."
        " Respond with the integer number only."
    )


def parse_score(reply: str) -> int | None:
    """The score, if the reply is an integer from 0 to 100 and nothing else but space around it.

    No number is picked out of a sentence: "I would not give it 100" has one too.
    """
    found = re.fullmatch(r"[0-9]{1,3}", reply.strip())
    return int(found[0]) if found and int(found[0]) <= HIGHEST else None


def anchor_questions(questions: Sequence[Question], entries: int, seed: int) -> Iterator[tuple[str, Question]]:
    """For each of `entries` entries, drawn with `seed`: the same question with an answer of known worth, and its kind.

    `reference`: the reference output itself. `empty`: no answer. `other`: the reference output of another entry,
    written as well and about something else; left out where all entries have the same output. Entries with an empty
    output are not drawn.
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
    """The scores of each entry's anchors by kind; each entry begins with its reference."""
    entries: list[dict[str, int | None]] = []
    for verdict in anchors:
        if verdict.kind == REFERENCE:
            entries.append({})
        entries[-1][verdict.kind] = verdict.score
    return entries


@dataclass
class _Hearing:
    """The questions of one call, and what they learn from each other about the server."""

    server: JudgeServer
    replies: ReplyCache
    asking: Asking
    answered: bool = False  # the server has given a reply, so it is there
    failed_in_a_row: int = 0

    async def verdicts(self, questions: Sequence[Question], progress: Progress) -> list[Verdict]:
        """One for each question; those with the same wording are asked once.

        As many workers as requests may be under way take prompts from one list. If one of them raises, the others'
        requests are cancelled.
        """
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
        """On one prompt; its id is not known here."""
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
        """From the cache, or from the server and then into the cache."""
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
        """Whether another try would end the same. A server that has never said a word is not there: no use waiting."""
        return not error.temporary or (error.everyone and not self.answered)

    def _count_failure(self, error: AskError) -> None:
        """One question without a reply is a failed verdict; what concerns all of them is the end.

        Raises JudgeError.
        """
        self.failed_in_a_row += 1
        if error.everyone and self._is_final(error):
            raise JudgeError(str(error)) from error
        if self.failed_in_a_row >= self.asking.give_up_after:
            raise JudgeError(f"{self.failed_in_a_row} questions to the judge failed in a row; {error}") from error

    def _identity(self, messages: Messages) -> Mapping[str, Any]:
        server = self.server
        return {"api": server.api, "model": server.model, "options": dict(server.options), "messages": list(messages)}
