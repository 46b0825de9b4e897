"""A lock that machines share, as an object on a server: it is written on a condition, renewed while it is held, and
taken over when it has not changed for its life, by the waiter's own clock.

It saves work only. A holder that is cut off may lose it unawares; what keeps artifacts whole is how they are published.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from lib.errors import StoreError
from lib.store.bucket import Bucket

LIFE = 20.0  # seconds that a lease holds without being renewed
POLL = 0.25  # seconds between two looks at a lease that another machine has
LEASES = ".leases"


def lease_name(step: str, key: str) -> str:
    """Returns the name of the lease of a key."""
    return f"{LEASES}/{step}/{key}"


class Lease:
    """A lease in a bucket; `local` is held meanwhile, and keeps processes of one machine apart."""

    def __init__(self, bucket: Bucket, name: str, local: FileLock, life: float = LIFE) -> None:
        self._bucket, self._name, self._local, self._life = bucket, name, local, life
        self._etag: str | None = None  # of what this holder wrote last
        self._nonce = ""  # in what this holder wrote last, or tried to
        self._writing = threading.Lock()
        self._depth = 0
        self._ended = threading.Event()

    def acquire(self, timeout: float | None = None) -> None:
        """Waits for it for so many seconds (None or -1: without end); raises filelock's Timeout."""
        if self._depth == 0:
            waited_since = time.monotonic()
            self._local.acquire(timeout=-1 if timeout is None else timeout)
            try:
                self._take(timeout, waited_since)
            except BaseException:
                self._local.release()
                raise
        self._depth += 1

    def release(self) -> None:
        """Lets the next one have it."""
        self._depth -= 1
        if self._depth == 0:
            self._ended.set()
            with suppress(StoreError), self._writing:  # it will end by itself
                found = self._bucket.get(self._name)
                if found is not None and found[1] == self._etag:
                    self._bucket.delete([self._name])
            self._local.release()

    def is_held(self) -> bool:
        """Asks whether it is still this holder's: one that was cut off for its life may have lost it."""
        with self._writing:
            found = self._bucket.get(self._name)
            return found is not None and found[1] == self._etag

    def __enter__(self) -> Lease:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.release()

    def _take(self, timeout: float | None, waited_since: float) -> None:
        seen: str | None = None
        since = 0.0
        while not self._write(None):
            found = self._bucket.get(self._name)
            if found is not None:  # otherwise released meanwhile
                content, etag = found
                if etag != seen:
                    seen, since = etag, time.monotonic()
                # With the local lock in hand, what this machine holds is of a process that was killed.
                over = self._is_of_this_machine(content) or time.monotonic() - since > _life_of(content, self._life)
                if over and self._write(etag):
                    break
            if timeout is not None and 0 <= timeout <= time.monotonic() - waited_since:
                raise Timeout(self._local.lock_file)
            time.sleep(POLL)
        self._ended = threading.Event()
        threading.Thread(target=self._renew, args=(self._ended,), daemon=True, name=f"lease {self._name}").start()

    def _write(self, over: str | None) -> bool:
        """Writes the lease anew: where there is none, or over the one with this ETag; returns whether it did."""
        with self._writing:
            self._nonce = uuid.uuid4().hex
            content = {"nonce": self._nonce, "machine": self._machine, "life": self._life}
            written = json.dumps(content).encode()
            bucket, name = self._bucket, self._name
            etag = bucket.create(name, written) if over is None else bucket.swap(name, written, over)
            if etag is not None:
                self._etag = etag
            return etag is not None

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(self._life / 3):
            with suppress(StoreError):  # a server that is away for a while
                if self._etag is None or not (self._write(self._etag) or self._was_written()):
                    return  # another has it: both go on, and the first to publish is right

    def _was_written(self) -> bool:
        """Whether the lease is what this holder tried to write last: its answer was lost, and it was tried again."""
        with self._writing:
            found = self._bucket.get(self._name)
            if found is None or _field(found[0], "nonce") != self._nonce:
                return False
            self._etag = found[1]
            return True

    @property
    def _machine(self) -> str:
        """Tells the folder of this machine's locks from all others."""
        folder = Path(self._local.lock_file).parent
        facts = f"{socket.gethostname()} {folder} {folder.stat().st_ino}"
        return sha256(facts.encode()).hexdigest()[:16]

    def _is_of_this_machine(self, content: bytes) -> bool:
        return _field(content, "machine") == self._machine


def _life_of(content: bytes, otherwise: float) -> float:
    life = _field(content, "life")
    return float(life) if isinstance(life, int | float) else otherwise


def _field(content: bytes, name: str) -> object:
    try:
        read = json.loads(content)
    except ValueError:
        return None
    return read.get(name) if isinstance(read, dict) else None
