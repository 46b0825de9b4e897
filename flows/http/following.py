"""Follows a registered model: a new champion is loaded beside the old one, and answers once it is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from flows.http.logs import log
from flows.http.versions import Answering, Registered, Served
from lib.errors import FinetuneError
from tasks.record.mlflow_run import FAILURES, reason_of

LONGEST_PAUSE = 300.0  # seconds between two tries to load the same champion


@dataclass
class Follower:
    """Looks for a new champion every so many seconds.

    find: says which version is champion now. load: loads one; both are called in a thread of their own.
    """

    answering: Answering
    find: Callable[[], Registered]
    load: Callable[[Registered], Served]
    every: float
    switched: Callable[[Served], None] = lambda served: None
    _said: str = ""  # the last complaint, which is not repeated
    _failed: Registered | None = None  # a champion that could not be loaded
    _pause: float = field(default=0.0, init=False)  # seconds until that is tried again
    _passed: float = field(default=0.0, init=False)  # seconds since it was tried

    async def run(self) -> None:
        """Follows until it is cancelled."""
        while True:
            await asyncio.sleep(self.every)
            await self.check()

    async def check(self) -> None:
        """Looks once; whatever goes wrong, the version that answers goes on."""
        try:
            found = await asyncio.to_thread(self.find)
        except Exception as error:
            self._complain("its registered model cannot be looked up", error)
            return
        if found == self.answering.champion.registered:
            self._said, self._failed = "", None
        elif self._is_due(found):
            await self._switch(found)

    def _is_due(self, found: Registered) -> bool:
        self._passed += self.every
        return found != self._failed or self._passed >= self._pause

    async def _switch(self, found: Registered) -> None:
        try:
            served = await asyncio.to_thread(self.load, found)
        except Exception as error:
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if found == self._failed else self.every
            self._failed, self._passed = found, 0.0
            self._complain(f"the new champion, version {found.version.version}, cannot be loaded", error)
            return
        before, self.answering.champion = self.answering.champion, served
        self._said, self._failed = "", None
        self.switched(served)
        log(logging.INFO, "new champion", name=served.name, version=served.version, before=before.version)

    def _complain(self, what: str, error: Exception) -> None:
        known = isinstance(error, (FinetuneError, *FAILURES))
        sentence = f"version {self.answering.champion.version} goes on: {what} ({reason_of(error)})"
        if sentence != self._said:
            log(logging.WARNING, sentence, error=None if known else error)
            self._said = sentence
