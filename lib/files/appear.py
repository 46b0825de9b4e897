"""Makes a folder that appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import RecipeError, StoreError
from lib.files.disk import disk_full_is_clear, sync


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes `folder` at the end of the block; if the block fails, nothing is left of it.

    Raises `RecipeError` if `folder` is there and not empty, `StoreError` if nothing can be written there.
    """
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise RecipeError(f"{folder} exists already and is not empty: name a new folder")
    parent = folder.absolute().parent
    with disk_full_is_clear(parent):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            begun = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=parent))
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be made ({error.strerror}: {error.filename}): name another folder"
            ) from error
        try:
            yield begun
            for path in [*begun.rglob("*"), begun]:
                sync(path)
            begun.chmod(0o755)  # what `mkdtemp` makes is the owner's only
            begun.rename(folder.absolute())
        finally:
            shutil.rmtree(begun, ignore_errors=True)
