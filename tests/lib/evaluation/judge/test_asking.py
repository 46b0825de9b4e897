"""Judging many answers: wording, replies, retries, the cache, limits and anchors, against a server on loopback."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lib.errors import JudgeError, RecipeError, StoreError
from lib.evaluation.judge.asking import (
    REMINDER,
    Asking,
    Judgement,
    Question,
    anchor_questions,
    judge,
    judge_prompt,
    parse_score,
)
from lib.evaluation.judge.cache import ReplyCache
from lib.evaluation.judge.protocol import JudgeServer
from lib.evaluation.judge.servers import OllamaServer
from lib.evaluation.judge.servers import OpenAIServer as OpenAI
from lib.text.turns import Turn
from tests.support.http_server import Reply
from tests.support.ollama_server import Chat, Meeting, OpenAIServer, Speech, said
from tests.support.ollama_server import OllamaServer as FakeOllama

# Each says what the reference says or something else; of each, the fair judge below knows the worth.
QUESTIONS = [
    Question(7 * number, f"Name the number {number}.", input="", output=f"It is {number}.", response=response)
    for number, response in enumerate(["It is 0.", "It is one.", "", "It is 3.", "It is 4.", "No idea."])
]
SCORES = [100, 40, 0, 100, 100, 40]
BUSY = said({"error": "busy"}, 503)


def fair(chat: Chat) -> str:
    """A judge that gives 100 for the reference, 0 for nothing and 40 for anything else."""
    reference, response = re.findall(r"(?:correct output|model response) `([^`]*)`", chat.contents[0])
    return "100" if response == reference else "40" if response else "0"


def ask(questions: list[Question], server: JudgeServer, cache: Path, **options: Any) -> Judgement:
    """Fields of `Asking` and arguments of `judge` may be mixed in `options`."""
    asking = Asking(**{each.name: options.pop(each.name) for each in fields(Asking) if each.name in options})
    return judge(questions, server, ReplyCache(cache, options.pop("warn", lambda sentence: None)), asking, **options)


def run(server: FakeOllama, cache: Path, questions: list[Question] = QUESTIONS, **options: Any) -> Judgement:
    chosen = OllamaServer(address=server.url(""))
    return ask(questions, chosen, cache, **{"retry_seconds": (0, 0), "anchors": 0, "parallel": 2, **options})


def scores(judgement: Judgement) -> list[int | None]:
    return [verdict.score for verdict in judgement.answers]


def at(chat: Chat, number: int) -> bool:
    """Whether a question of QUESTIONS is this one."""
    return f"Name the number {number}." in chat.contents[0]


# -- wording and replies ----------------------------------------------------------------------------------------


def test_the_question_is_the_published_one_to_the_letter() -> None:
    entry = Question(
        id=1045,
        instruction="Rewrite the sentence using a simile.",
        input="The car is very fast.",
        output="The car is as fast as lightning.",
        response="The car is as fast as a bullet.",
    )
    assert judge_prompt(entry) == (
        "Given the input `Below is an instruction that describes a task. Write a response that appropriately completes"
        " the request.\n\n### Instruction:\nRewrite the sentence using a simile.\n\n### Input:\nThe car is very fast.`"
        " and correct output `The car is as fast as lightning.`, score the model response `The car is as fast as a"
        " bullet.` on a scale from 0 to 100, where 100 is the best score. Respond with the integer number only."
    )


def test_what_was_said_earlier_stands_before_the_question() -> None:
    earlier = (Turn("user", "one?"), Turn("assistant", "1"))
    asked = judge_prompt(Question(7, "two?", "", "2", "2", earlier))
    assert (
        asked.index("one?") < asked.index("### Response:\n1") < asked.index("two?") < asked.index("correct output `2`")
    )


def test_a_question_without_input_has_no_part_for_one() -> None:
    entry = Question(1046, "Who wrote 'Pride and Prejudice'?", "", "Jane Austen.", "")
    assert "### Instruction:\nWho wrote 'Pride and Prejudice'?` and correct output" in judge_prompt(entry)
    assert "score the model response `` on a scale" in judge_prompt(entry)


@pytest.mark.parametrize(("reply", "score"), [("0", 0), (" 100\n", 100), ("85", 85), ("007", 7)])
def test_an_integer_of_the_scale_is_a_score(reply: str, score: int) -> None:
    assert parse_score(reply) == score


@pytest.mark.parametrize("reply", ["", "101", "-1", "8.5", "85/100", "85.", "The score is 85.", "8 5", "1000", "٨٥"])
def test_everything_else_is_none(reply: str) -> None:
    assert parse_score(reply) is None


# -- verdicts ---------------------------------------------------------------------------------------------------


def test_every_answer_gets_its_verdict_in_order(tmp_path: Path) -> None:
    steps: list[tuple[int, int | None, str]] = []
    with FakeOllama(fair) as server:
        judgement = run(server, tmp_path, progress=lambda *step: steps.append(step))
    assert [(verdict.id, verdict.score) for verdict in judgement.answers] == [
        (7 * number, score) for number, score in enumerate(SCORES)
    ]
    assert {(verdict.kind, verdict.outcome, verdict.reminders) for verdict in judgement.answers} == {
        ("answer", "scored", 0)
    }
    assert steps == [(done, 6, "answers") for done in range(1, 7)]
    assert len(server.chats) == 6
    summary = judgement.summary
    assert summary["judge"] == {"api": "ollama", "model": "llama3", "options": OllamaServer().options}
    assert (summary["mean"], summary["median"]) == (pytest.approx(63.333, abs=1e-3), 70)
    assert summary["mean_interval"]["low"] < summary["mean"] < summary["mean_interval"]["high"]
    counts = {"answers": 6, "scored": 6, "unparsed": 0, "failed": 0, "reminded": 0}
    assert counts.items() <= summary.items()
    assert summary["anchors"]["verdict"] == "not checked"


def test_a_talkative_judge_is_reminded_in_the_same_conversation(tmp_path: Path) -> None:
    with FakeOllama(lambda chat: "The score is 85." if len(chat.contents) == 1 else "85") as server:
        judgement = run(server, tmp_path, QUESTIONS[:1])
    (verdict,) = judgement.answers
    assert (verdict.score, verdict.reminders, verdict.reply) == (85, 1, "85")
    assert judgement.summary["reminded"] == 1
    first, second = server.chats
    assert second.contents == [first.contents[0], "The score is 85.", REMINDER]
    assert [message["role"] for message in second.body["messages"]] == ["user", "assistant", "user"]


def test_a_reply_that_never_is_a_score_is_kept_and_counted(tmp_path: Path) -> None:
    with FakeOllama(lambda chat: f"Splendid, {len(chat.contents)}!" if at(chat, 1) else fair(chat)) as server:
        judgement = run(server, tmp_path, reminders=2)
        again = run(server, tmp_path, reminders=2)
    verdict = judgement.answers[1]
    assert (verdict.outcome, verdict.score, verdict.reply, verdict.reminders) == ("unparsed", None, "Splendid, 5!", 2)
    assert {"answers": 6, "scored": 5, "unparsed": 1, "failed": 0}.items() <= judgement.summary.items()
    assert judgement.summary["mean"] == 68  # of the five
    assert judgement.summary["mean_bounds"] == {"low": pytest.approx(340 / 6), "high": pytest.approx(440 / 6)}
    assert len(server.chats) == 5 + 3
    assert again == judgement


def test_an_empty_reply_has_words_in_the_conversation(tmp_path: Path) -> None:
    with FakeOllama(lambda chat: Speech([]) if len(chat.contents) == 1 else "50") as server:
        assert scores(run(server, tmp_path, QUESTIONS[:1])) == [50]
    assert server.chats[1].contents[1] == "(no text)"


def test_answers_that_are_asked_alike_are_asked_once(tmp_path: Path) -> None:
    twins = [QUESTIONS[1], Question(99, "Name the number 1.", "", "It is 1.", "It is one."), QUESTIONS[0]]
    steps: list[int] = []
    with FakeOllama(fair) as server:
        judgement = run(server, tmp_path, twins, parallel=4, progress=lambda done, *_: steps.append(done))
    assert [(verdict.id, verdict.score) for verdict in judgement.answers] == [(7, 40), (99, 40), (0, 100)]
    assert len(server.chats) == 2
    assert steps[-1] == 3


# -- failures ---------------------------------------------------------------------------------------------------


def test_what_fails_for_a_while_is_tried_again(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def moody(chat: Chat) -> str | Reply | Speech:
        tries[chat.contents[0]] += 1
        said: tuple[Reply, Speech, str] = (BUSY, Speech(["1"], "cut"), fair(chat))
        return said[tries[chat.contents[0]] - 1]

    with FakeOllama(moody) as server:
        assert scores(run(server, tmp_path)) == SCORES
    assert set(tries.values()) == {3}


def test_a_question_that_keeps_failing_is_counted_and_asked_in_the_next_run(tmp_path: Path) -> None:
    with FakeOllama(lambda chat: BUSY if at(chat, 4) else fair(chat)) as server:
        judgement = run(server, tmp_path)
        assert len(server.chats) == 5 + 3
    verdict = judgement.answers[4]
    assert (verdict.outcome, verdict.score) == ("failed", None)
    assert (
        verdict.failure == f"The judge's server at {server.url('')} answered 503 (busy): run the judge step again later"
    )
    assert {"scored": 5, "unparsed": 0, "failed": 1}.items() <= judgement.summary.items()
    with FakeOllama(fair) as server:
        assert scores(run(server, tmp_path)) == SCORES
    assert [at(chat, 4) for chat in server.chats] == [True]


def test_a_server_that_keeps_failing_ends_it_and_what_came_is_kept(tmp_path: Path) -> None:
    left = iter(range(3))
    with FakeOllama(lambda chat: BUSY if next(left, None) is None else fair(chat)) as server:
        with pytest.raises(
            JudgeError, match=r"^3 questions to the judge failed in a row; .* answered 503 .*again later"
        ):
            run(server, tmp_path, parallel=1, give_up_after=3)
        assert len(server.chats) == 3 + 3 * 3
    with FakeOllama(fair) as server:
        assert scores(run(server, tmp_path)) == SCORES
    assert len(server.chats) == 3


def test_failures_with_replies_between_them_are_not_in_a_row(tmp_path: Path) -> None:
    with FakeOllama(lambda chat: BUSY if any(at(chat, number) for number in (0, 2, 4)) else fair(chat)) as server:
        judgement = run(server, tmp_path, parallel=1, give_up_after=2, retry_seconds=())
    assert [verdict.outcome for verdict in judgement.answers] == ["failed", "scored"] * 3


def test_without_a_server_it_says_so_at_once(tmp_path: Path) -> None:
    with FakeOllama(fair) as server:
        nobody = OllamaServer(address=server.url(""))
    with pytest.raises(JudgeError, match=r"No judge's server answers at .*: start Ollama there \(`ollama serve`"):
        ask(QUESTIONS, nobody, tmp_path, retry_seconds=(600,))  # nobody waits for these ten minutes
    assert not list(tmp_path.iterdir())


def test_a_server_that_falls_silent_after_it_has_answered_is_asked_again(tmp_path: Path) -> None:
    hung: list[Chat] = []

    def stalls_once(chat: Chat) -> str | Reply:
        if at(chat, 3) and not hung:
            hung.append(chat)
            return Reply(hang=True)
        return fair(chat)

    with FakeOllama(stalls_once) as server:
        short = OllamaServer(address=server.url(""), timeout=1.5)
        judgement = ask(QUESTIONS, short, tmp_path, parallel=1, retry_seconds=(0,), anchors=0)
    assert scores(judgement) == SCORES
    assert len(server.chats) == 7


def test_what_concerns_all_questions_ends_those_under_way(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def speak(chat: Chat) -> Reply:
        both.wait(timeout=60)
        return said({"error": "model 'llama3' not found"}, 404) if at(chat, 0) else Reply(hang=True)

    with FakeOllama(speak) as server, pytest.raises(JudgeError, match="ollama pull llama3"):
        run(server, tmp_path)  # the other question would hang for its 300 seconds
    assert len(server.chats) == 2


def test_a_wrong_address_is_the_users_to_correct(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="is no address of a server"):
        ask(QUESTIONS, OllamaServer(address="http://[::1"), tmp_path)


def test_numbers_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with FakeOllama(fair) as server:
        for questions, options in (([], {}), (QUESTIONS, {"parallel": 0}), (QUESTIONS, {"confidence": 95})):
            with pytest.raises(RecipeError):
                run(server, tmp_path, questions, **options)


def test_an_error_of_the_listener_is_the_callers(tmp_path: Path) -> None:
    def fail(*step: object) -> None:
        raise LookupError("the bar is gone")

    with FakeOllama(fair) as server, pytest.raises(LookupError, match="the bar is gone"):
        run(server, tmp_path, progress=fail)


# -- the cache, as a run uses it ----------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_needs_no_server(tmp_path: Path) -> None:
    with FakeOllama(fair) as server:
        judgement = run(server, tmp_path, anchors=3)
    steps: list[int] = []
    assert run(server, tmp_path, anchors=3, parallel=5, progress=lambda done, *_: steps.append(done)) == judgement
    assert steps[-1] == 6 + 9


def test_a_run_asks_only_what_is_new(tmp_path: Path) -> None:
    with FakeOllama(fair) as server:
        run(server, tmp_path, QUESTIONS[:4])
        run(server, tmp_path, [*QUESTIONS[:3], QUESTIONS[5]])
        assert [at(chat, 5) for chat in server.chats] == [False] * 4 + [True]


@pytest.mark.parametrize(
    "other",
    [
        lambda address: OllamaServer("llama3.1", address=address),
        lambda address: OllamaServer(address=address, options={"seed": 124, "temperature": 0, "num_ctx": 2048}),
        lambda address: OllamaServer(address=address, options={"seed": 123, "temperature": 0}),
    ],
    ids=["model", "value", "fewer"],
)
def test_another_model_or_other_options_are_asked_again(tmp_path: Path, other: Callable[[str], OllamaServer]) -> None:
    with FakeOllama(fair, models=("llama3", "llama3.1")) as server:
        run(server, tmp_path)
        for _ in range(2):
            ask(QUESTIONS, other(server.url("")), tmp_path, anchors=0)
    assert len(server.chats) == 12


def test_another_address_of_the_same_model_is_not_asked_again(tmp_path: Path) -> None:
    with FakeOllama(fair) as server:
        run(server, tmp_path)
    with FakeOllama(fair) as moved:
        assert scores(run(moved, tmp_path)) == SCORES
    assert moved.chats == []


def test_a_damaged_file_is_reported_asked_again_and_replaced(tmp_path: Path, warnings_heard: list[str]) -> None:
    with FakeOllama(fair) as server:
        run(server, tmp_path)
        cut, wrong, *_ = sorted(tmp_path.iterdir())
        cut.write_bytes(cut.read_bytes()[:40])
        wrong.write_text(wrong.read_text().replace("Name the number", "Name a number"))
        for _ in range(2):
            assert scores(run(server, tmp_path, warn=warnings_heard.append)) == SCORES
    assert len(server.chats) == 6 + 2
    assert sorted(re.findall(r"reply in (\S+) is damaged", "\n".join(warnings_heard))) == [str(cut), str(wrong)]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with FakeOllama(fair) as server, pytest.raises(StoreError, match="make the folder writable"):
        run(server, tmp_path / "file" / "cache")


# -- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_requests_are_under_way_as_allowed_and_no_more(tmp_path: Path, parallel: int) -> None:
    with FakeOllama(Meeting(parallel)) as server:
        assert scores(run(server, tmp_path, parallel=parallel)) == [50] * 6
    assert server.most_at_once == parallel


# -- anchors -----------------------------------------------------------------------------------------------------


def test_a_fair_judge_is_sound(tmp_path: Path) -> None:
    with FakeOllama(fair) as server:
        judgement = run(server, tmp_path, anchors=4)
    assert Counter((verdict.kind, verdict.score) for verdict in judgement.anchors) == {
        ("reference", 100): 4,
        ("empty", 0): 4,
        ("other", 40): 4,
    }
    anchors = judgement.summary["anchors"]
    assert (anchors["verdict"], anchors["entries"], anchors["ordered"], anchors["gap"]) == ("sound", 4, 4, 60)
    assert judgement.summary["answers"] == 6  # anchors are no answers
    assert scores(judgement) == SCORES


def test_a_judge_that_says_the_same_to_everything_is_broken(tmp_path: Path) -> None:
    with FakeOllama(lambda chat: "85") as server:
        anchors = run(server, tmp_path, anchors=10).summary["anchors"]
    assert (anchors["verdict"], anchors["ordered"], anchors["gap"]) == ("broken", 0, 0)
    assert anchors["means"] == {"reference": 85, "empty": 85, "other": 85}
    assert "came first in 0 of 6 entries" in anchors["why"]


def test_a_judge_that_draws_lots_is_not_sound(tmp_path: Path) -> None:
    lots = random.Random(1)
    many = [Question(n, f"Name the number {n}.", "", f"It is {n}.", "Yes.") for n in range(20)]
    with FakeOllama(lambda chat: str(lots.randint(0, 100))) as server:
        assert run(server, tmp_path, many, parallel=1, anchors=10).summary["anchors"]["verdict"] == "broken"


def test_anchors_are_drawn_with_the_seed_and_are_what_they_are_called() -> None:
    drawn = list(anchor_questions(QUESTIONS, 3, seed=1))
    assert drawn == list(anchor_questions(QUESTIONS, 3, seed=1))
    assert {question.id for _, question in drawn} != {question.id for _, question in anchor_questions(QUESTIONS, 3, 2)}
    assert [kind for kind, _ in drawn] == ["reference", "empty", "other"] * 3
    outputs = {question.output for question in QUESTIONS}
    for kind, question in drawn:
        assert (question.response == question.output) == (kind == "reference")
        assert (question.response == "") == (kind == "empty")
        assert question.response in outputs | {""}


def test_entries_that_cannot_be_anchors_are_none() -> None:
    same = [Question(number, "Say yes.", "", "Yes.", "No.") for number in range(3)]
    assert [kind for kind, _ in anchor_questions(same, 1, seed=1)] == ["reference", "empty"]
    assert list(anchor_questions([Question(0, "Say nothing.", "", " ", "")], 10, seed=1)) == []


# -- the other protocol -------------------------------------------------------------------------------------------


def test_an_openai_server_judges_as_well_and_its_replies_are_its_own(tmp_path: Path) -> None:
    with FakeOllama(fair, models=("gpt",)) as server:
        ask(QUESTIONS, OllamaServer("gpt", server.url(""), {"seed": 123}), tmp_path, anchors=0)
    with OpenAIServer(fair) as other:
        chosen = OpenAI("gpt", other.address, {"seed": 123})
        assert scores(ask(QUESTIONS, chosen, tmp_path, anchors=0)) == SCORES
        assert scores(ask(QUESTIONS, chosen, tmp_path, anchors=0)) == SCORES
    assert len(other.chats) == 6


def test_waits_grow_and_a_server_that_asks_for_more_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("lib.evaluation.judge.asking.asyncio.sleep", note)
    pauses = [said({}, 429, {"Retry-After": seconds}) for seconds in ("7", "0", "30")]
    replies: Iterator[Reply | str] = iter([*pauses, "85"])
    with OpenAIServer(lambda chat: next(replies)) as server:
        judgement = ask(QUESTIONS[:1], OpenAI("gpt", server.address), tmp_path, anchors=0, retry_seconds=(1, 5, 25))
    assert scores(judgement) == [85]
    assert waits == [7, 5, 30]


def test_a_server_that_asks_for_a_long_pause_is_left_alone(tmp_path: Path) -> None:
    with (
        OpenAIServer(lambda chat: said({}, 429, {"Retry-After": "600"})) as server,
        pytest.raises(JudgeError, match="wants no questions for 600 s: run the judge step again later"),
    ):
        ask(QUESTIONS, OpenAI("gpt", server.address), tmp_path, parallel=1)
    assert len(server.chats) == 1
