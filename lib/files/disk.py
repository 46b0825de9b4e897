"""Writes reliably: a clear error for a full or broken disk, and syncing."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.errors import StoreError, chain_of

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # no space on the device; the user's quota is used up
QUOTED = re.compile(r"^\[Errno (\d+)\]", re.MULTILINE)  # as Python writes an `OSError`


@contextmanager
def disk_full_is_clear(folder: Path) -> Iterator[None]:
    """Turns "no space left" and "input/output error" while writing into `folder` into one StoreError; other `OSError`s
    pass unchanged. Put it around the opening *and* the closing of the file: buffered data is written when it closes."""
    try:
        yield
    except OSError as error:
        refused = disk_refuses(error, folder)
        if refused is None:
            raise
        raise refused from error


def disk_refuses(error: OSError, folder: Path) -> StoreError | None:
    """Says that a disk is full or broken, where that is the error of a write into `folder`; None: it is another one."""
    if error.errno in FULL:
        return _full(folder, free_bytes(folder))
    if error.errno == errno.EIO:
        return StoreError(
            f"The disk of {folder} does not take what is written ({error.strerror}): see what the system's log says of"
            " it, or choose a folder on another disk, and run again"
        )
    return None


def disk_behind(error: BaseException, folder: Path) -> StoreError | None:
    """Says that a disk is full or broken, where that is behind an error of a library that has written into `folder`,
    and that may only quote the system's; None: something else is."""
    for link in chain_of(error):
        quoted = [OSError(int(number), os.strerror(int(number))) for number in QUOTED.findall(str(link))]
        for found in [link, *quoted] if isinstance(link, OSError) else quoted:
            if (refused := disk_refuses(found, folder)) is not None:
                return refused
    return None


def require_space(folder: Path, size: int, what: str) -> None:
    """Raises StoreError unless so many bytes are free where `folder` is, or will be; `what` needs them."""
    free = free_bytes(folder)
    if free < size:
        raise _full(folder, free, f", and {what} needs {_in_words(size)}")


def free_bytes(folder: Path) -> int:
    """Returns the free space where `folder` is, or will be once it is made."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free


def _full(folder: Path, free: int, needed: str = "") -> StoreError:
    return StoreError(
        f"No space left to write into {folder} ({_in_words(free)} free{needed}): free some space there, or choose a"
        " folder on a larger disk, and run again"
    )


def _in_words(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def copy_folder(source: Path, target: Path) -> None:
    """Copies the files of a folder that has no folders in it into a new one. Raises the system's own OSError, which
    `shutil.copytree` would put into a list of all that failed."""
    target.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, target / file.name)


def into_place(part: Path, file: Path) -> None:
    """Renames a finished file durably: its bytes reach the disk before its name, and the name before the return. Raises
    StoreError if the disk is full; what was there before is still whole then."""
    with disk_full_is_clear(file.parent):
        sync(part)
    part.replace(file)
    with disk_full_is_clear(file.parent):
        sync(file.parent)


def write_whole(file: Path, text: str) -> None:
    """Writes a small text in UTF-8 so that the file has the old text or the new one whenever the process is killed. It
    need not survive a power cut, which may leave it empty. Raises OSError if it cannot be written."""
    part = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError:
        remove(part)
        raise


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it, as far as permissions go."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def give_way(file: Path) -> None:
    """Removes a folder that is where a file of ours belongs: a rename cannot replace it."""
    if file.is_dir():
        remove(file)


def reserve(descriptor: int, size: int) -> None:
    """Makes a file `size` bytes long and reserves its disk space now, where the system can."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:  # macOS has no such call; some file systems refuse it
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, size)


def sync(path: Path) -> None:
    """Waits until a file's contents, or a folder's names, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
