"""Where parts of scoring lie: a folder, or a bucket below a prefix. A part's file is there whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from lib.errors import StoreError
from lib.files.disk import disk_full_is_clear, sync
from lib.store.bucket import Bucket
from lib.store.folder import FolderStore
from lib.store.lease import LIFE, Lease

SCORED, UNSCORABLE = "scored", "unscorable"
KINDS = (SCORED, UNSCORABLE)  # the two folders, each with at most one file of a part
S3 = "s3://"
LOCK = ".lock"
PATIENCE = 1.5 * LIFE  # seconds after which a run on another machine that was killed no longer counts
FOOTER = 2**16  # bytes at the end of a Parquet file that nearly always have all of its metadata
FOOTER_END = 8  # bytes at the very end: the metadata's length, and "PAR1"


class Place(Protocol):
    """Where the files of parts lie, by their kind and name."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    def opened(self) -> AbstractContextManager[None]:
        """Makes it this run's alone, and removes what a killed run had begun. Raises StoreError if it cannot be used,
        or is another run's."""

    def begun(self, kind: str) -> Path:
        """Where a file is written before it is published."""

    def publish(self, kind: str, name: str) -> None:
        """Puts the file that was begun into its place, where it replaces an earlier one of that name."""

    def names(self, kind: str) -> list[str]:
        """The files that are here, sorted."""

    def metadata(self, kind: str, name: str) -> pq.FileMetaData:
        """Reads a file's metadata. Raises OSError or ArrowException if it is missing or damaged."""

    def remove(self, kind: str, name: str) -> None:
        """Removes a file; it is no error if it is not here."""


def place_at(given: str, *, local: Path) -> Place:
    """Returns a folder, or a place in a bucket. local: the folder for locks between processes of this machine. Raises
    StoreError for another kind of address, and ExtraError if the package that it needs is not installed."""
    if "://" not in given:
        return Folder(Path(given).expanduser())
    if not given.startswith(S3):
        raise StoreError(
            f"answers cannot be written to {given.partition('://')[0]}://…: give an --output folder, or a bucket and a"
            f" prefix as in {S3}bucket/prefix"
        )
    return InBucket(given, local=local)


class Folder:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.folder.absolute())

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Creates and locks it; raises StoreError also if the disk is full."""
        try:
            for kind in KINDS:
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise _in_use(str(self.folder)) from None
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be used ({error.strerror}): give an --output folder that can be written"
            ) from error
        try:
            with disk_full_is_clear(self.folder):
                for begun in self.folder.glob("*/.*.parquet"):
                    begun.unlink()
                yield
        finally:
            lock.release()

    def begun(self, kind: str) -> Path:
        """A hidden file beside the others."""
        return self.folder / kind / ".writing.parquet"

    def publish(self, kind: str, name: str) -> None:
        """Syncs the file and renames it."""
        final = self.folder / kind / name
        sync(self.begun(kind))
        self.begun(kind).replace(final)
        sync(final.parent)

    def names(self, kind: str) -> list[str]:
        """The files that are here, sorted."""
        return sorted(path.name for path in (self.folder / kind).glob("*.parquet"))

    def metadata(self, kind: str, name: str) -> pq.FileMetaData:
        """Reads a file's metadata."""
        with pq.ParquetFile(self.folder / kind / name) as source:
            return source.metadata

    def remove(self, kind: str, name: str) -> None:
        """Removes a file."""
        (self.folder / kind / name).unlink(missing_ok=True)


class InBucket:
    """Objects of `s3://bucket/prefix`, which are written into temporary files of this machine and sent whole. local:
    the folder for locks between processes of this machine."""

    def __init__(self, address: str, *, local: Path) -> None:
        self._bucket = Bucket(address, what="a place for answers", named_by="--output")
        key = sha256(address.rstrip("/").encode()).hexdigest()[:32]
        self._local = FolderStore(local).file_lock("score", key)
        self._lease = Lease(self._bucket, LOCK, self._local)
        self._sizes: dict[str, int] = {}  # of what was here at the beginning
        self._begun = Path()  # the folder of temporary files

    @property
    def name(self) -> str:
        """Its address."""
        return self._bucket.address

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Takes its lease; that of a run that was killed on another machine ends within half a minute."""
        try:
            self._local.acquire(timeout=0)
        except Timeout:
            raise _in_use(self.name) from None
        try:
            self._lease.acquire(timeout=PATIENCE)
        except Timeout:
            raise _in_use(self.name) from None
        finally:
            self._local.release()  # which the lease holds, too
        try:
            with tempfile.TemporaryDirectory() as folder, disk_full_is_clear(Path(folder)):
                self._begun = Path(folder)
                yield
        finally:
            self._lease.release()

    def begun(self, kind: str) -> Path:
        """A temporary file."""
        return self._begun / f"{kind}.parquet"

    def publish(self, kind: str, name: str) -> None:
        """Sends the file. Raises StoreError if this run was cut off for so long that another one began."""
        if not self._lease.is_held():
            raise StoreError(
                f"another run has begun to write into {self.name}, while this one was cut off from it: wait for that"
                " one, and run again, which keeps finished parts"
            )
        self._bucket.upload(f"{kind}/{name}", self.begun(kind))
        self.begun(kind).unlink()

    def names(self, kind: str) -> list[str]:
        """The objects that are here, sorted."""
        found = [each for each in self._bucket.list(kind) if each.name.endswith(".parquet")]
        self._sizes.update((each.name, each.size) for each in found)
        return sorted(each.name.rpartition("/")[2] for each in found)

    def metadata(self, kind: str, name: str) -> pq.FileMetaData:
        """Reads the end of an object, which has its metadata."""
        size = self._sizes.get(f"{kind}/{name}", 0)
        end = self._end(f"{kind}/{name}", size, FOOTER)
        length = int.from_bytes(end[-FOOTER_END : -FOOTER_END // 2], "little") + FOOTER_END
        if length > len(end):
            end = self._end(f"{kind}/{name}", size, length)
        return pq.read_metadata(pa.BufferReader(end))

    def _end(self, name: str, size: int, length: int) -> bytes:
        block = self._bucket.read(name, max(0, size - length), min(size, length)) if size else None
        if block is None:
            raise FileNotFoundError(name)
        return bytes(block)

    def remove(self, kind: str, name: str) -> None:
        """Removes an object."""
        self._bucket.delete([f"{kind}/{name}"])


def _in_use(name: str) -> StoreError:
    return StoreError(f"another run writes into {name}: wait for it, or give another --output folder")
