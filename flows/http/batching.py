"""Takes turns at classifying: requests that wait are classified together, and large ones in slices.

One thread classifies: a wide model uses every core already, and a narrow one spends its time in Python, which runs one
thread at a time. A turn has so few texts that whoever comes next waits a tenth of a second at most, and each request
that waits has a fair share of it, so that ten thousand texts do not keep a single one waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Protocol

from lib.inference.predictor import Prediction

MOST, LEAST = 128, 8  # texts of a turn: more gain nothing, and fewer would give away what batches gain
TURN_SECONDS = 0.1  # that a turn may take, beyond LEAST texts
QUICK_SECONDS = 0.002  # in which one request is classified where it is read: the way to the thread takes 0.1 ms
RECENT = 0.2  # the weight of the last turn in the average of what a text takes


@dataclass(frozen=True)
class Manner:
    """How requests are classified.

    together: whether those that wait share a turn. delay: seconds that a turn waits for as many requests as the one
    before it had. text_seconds: what a text takes, to begin with.
    """

    together: bool = True
    delay: float = 0.0
    text_seconds: float = 0.001


class Classifies(Protocol):
    """What a `Predictor` does."""

    def predict(self, texts: Iterable[str], /) -> Iterator[Prediction]:
        """Yields a prediction for each text, in order."""
        ...


@dataclass(eq=False)
class Job:
    """A request's texts while they are being classified; `left`: the positions of those that still wait, from the
    longest text to the shortest."""

    predictor: Classifies
    texts: Sequence[str]
    done: asyncio.Future[list[Prediction]]
    answers: list[Prediction | None] = field(init=False)
    left: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.texts)
        self.left = sorted(range(len(self.texts)), key=lambda place: -len(self.texts[place]))

    def take(self, count: int) -> list[int]:
        """Takes the positions of the shortest texts that still wait."""
        taken = self.left[-count:]
        del self.left[-count:]
        return taken

    def keep(self, places: Sequence[int], predictions: Sequence[Prediction]) -> None:
        """Keeps what was predicted; answers when nothing waits any more."""
        for place, prediction in zip(places, predictions, strict=True):
            self.answers[place] = prediction
        if not self.left and not self.done.done():
            self.done.set_result([answer for answer in self.answers if answer is not None])

    def fail(self, error: Exception) -> None:
        """Ends without an answer."""
        self.left.clear()
        if not self.done.done():
            self.done.set_exception(error)


Turn = list[tuple[Job, list[int]]]  # which positions of which jobs


class Turns:
    """Classifies the texts of requests, turn by turn, in a thread of its own. `heard` gets the number of texts of each
    turn, and the seconds that it took."""

    def __init__(self, manner: Manner, heard: Callable[[int, float], None] = lambda texts, seconds: None) -> None:
        self._heard = heard
        self.change(manner)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="classify")
        self._waiting: deque[Job] = deque()
        self._behind: deque[Job] = deque()  # these have a turn when nothing else waits
        self._working: asyncio.Task[None] | None = None
        self._enough: asyncio.Future[None] | None = None  # while a turn waits for others
        self._expected = 0  # requests that the last turn had

    def change(self, manner: Manner) -> None:
        """Classifies in this manner from the next turn on."""
        self._manner, self._text_seconds = manner, manner.text_seconds

    @property
    def waiting(self) -> int:
        """How many requests wait for a turn."""
        return len(self._waiting)

    async def predictions(
        self, predictor: Classifies, texts: Sequence[str], *, behind: bool = False
    ) -> list[Prediction]:
        """Returns the predictions of `texts`, in order; the caller may cancel it. `behind`: they have time until
        nothing else waits. Raises what the predictor raises."""
        job = Job(predictor, texts, asyncio.get_running_loop().create_future())
        (self._behind if behind else self._waiting).append(job)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        elif len(self._waiting) >= self._expected:
            self._begin()
        return await job.done

    async def _work(self) -> None:
        while self._waiting or self._behind:
            await self._others()
            if turn := self._next():
                await self._classify(turn)
        self._working = None

    async def _others(self) -> None:
        """Waits, for the stated delay at most, until as many requests wait as the turn before had."""
        manner = self._manner
        if not (manner.together and manner.delay and self._waiting) or len(self._waiting) >= self._expected:
            return
        loop = asyncio.get_running_loop()
        self._enough = loop.create_future()
        late = loop.call_later(manner.delay, self._begin)
        await self._enough
        late.cancel()
        self._enough = None

    def _begin(self) -> None:
        """Ends the waiting for others."""
        if self._enough is not None and not self._enough.done():
            self._enough.set_result(None)

    def _next(self) -> Turn:
        """Chooses the next turn; what still waits of its requests goes to the end of their queue."""
        queue = self._waiting or self._behind
        left = [job for job in queue if not job.done.cancelled()]
        room = min(max(int(TURN_SECONDS / self._text_seconds), LEAST), MOST)
        alike = [job for job in left if job.predictor is left[0].predictor]
        jobs = alike[: room if self._manner.together else 1]
        turn = [(job, job.take(share)) for job, share in zip(jobs, _shares(jobs, room), strict=True)]
        queue.clear()
        queue.extend([job for job in left if job not in jobs] + [job for job in jobs if job.left])
        self._expected = len(jobs)
        return turn

    async def _classify(self, turn: Turn) -> None:
        texts = [job.texts[place] for job, places in turn for place in places]
        loop = asyncio.get_running_loop()
        began = perf_counter()
        try:
            predictor = turn[0][0].predictor
            if len(turn) == 1 and self._text_seconds * len(texts) < QUICK_SECONDS:
                predictions = classify(predictor, texts)
            else:
                predictions = await loop.run_in_executor(self._thread, classify, predictor, texts)
        except Exception as error:
            if len(turn) == 1:
                turn[0][0].fail(error)
            else:  # one request's texts must not harm the others
                for part in turn:
                    await self._classify([part])
            return
        seconds = perf_counter() - began
        self._text_seconds += RECENT * (seconds / len(texts) - self._text_seconds)
        self._heard(len(texts), seconds)
        answers = iter(predictions)
        for job, places in turn:
            job.keep(places, list(islice(answers, len(places))))


def classify(predictor: Classifies, texts: Sequence[str]) -> list[Prediction]:
    """Returns the predictions of `texts`, in order."""
    return list(predictor.predict(texts))


def _shares(jobs: Sequence[Job], room: int) -> list[int]:
    return fair_shares([len(job.left) for job in jobs], room)


def fair_shares(wanted: Sequence[int], room: int) -> list[int]:
    """Shares `room` so that nobody's share is raised without lowering a smaller one (max-min fairness). There must be
    room for one each."""
    shares = [0] * len(wanted)
    for served, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[place] = min(wanted[place], room // (len(wanted) - served))
        room -= shares[place]
    return shares
