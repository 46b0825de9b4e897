"""Opens an artifact store by its place: a folder, or `s3://bucket/prefix`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lib.errors import StoreError
from lib.store.folder import FolderStore
from lib.store.store import Store

S3 = "s3://"


def open_store(
    place: str | Path,
    *,
    local: Path,
    cache_size: int,
    warn: Callable[[str], None] = lambda sentence: None,
) -> Store:
    """Returns the store at a place; nothing is asked or made yet.

    Args:
        place: a folder, or an address such as `s3://bucket/prefix`.
        local: the folder on this machine for what a store on a server does not keep there: scratch, locks, the cache.
        cache_size: bytes of that cache.
        warn: gets one sentence for each damaged artifact that is come upon.

    Raises StoreError for another kind of address, and ExtraError if the package that it needs is not installed.
    """
    text = str(place)
    if "://" not in text:
        return FolderStore(Path(text).expanduser().absolute(), warn)
    if not text.startswith(S3):
        raise StoreError(
            f"an artifact store cannot be at {text.partition('://')[0]}://…: name a folder, or a bucket and a prefix as"
            f" in {S3}bucket/prefix"
        )
    from lib.store.objects import ObjectStore

    return ObjectStore(text, local=local, cache_size=cache_size, warn=warn)
