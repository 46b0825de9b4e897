"""The artifact store of this process: the home's folder, or what FINETUNE_STORE names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lib.errors import StoreError
from lib.sizes import SIZE_EXAMPLES, parsed_size
from lib.store.places import open_store
from lib.store.store import Store
from tasks.environment import store_folder

CACHE_SIZE = 50 * 10**9  # bytes of what is fetched from a store on a server


def artifact_store(warn: Callable[[str], None] = lambda sentence: None) -> Store:
    """Returns the store; `warn` gets one sentence for each damaged artifact that is come upon."""
    return store_at(store_place(), warn)


def store_place() -> str:
    """Returns the folder or the address of the store."""
    return os.environ.get("FINETUNE_STORE") or str(store_folder())


def store_at(place: str | Path, warn: Callable[[str], None] = lambda sentence: None) -> Store:
    """Returns the store at a folder or an address. Raises StoreError for an address or a FINETUNE_CACHE_SIZE that is
    none."""
    return open_store(place, local=store_folder(), cache_size=cache_size(), warn=warn)


def cache_size() -> int:
    """Returns how many bytes of what is fetched stay on this machine. Raises StoreError for a FINETUNE_CACHE_SIZE that
    is none."""
    written = os.environ.get("FINETUNE_CACHE_SIZE")
    if not written:
        return CACHE_SIZE
    size = parsed_size(written)
    if size is None:
        raise StoreError(f"FINETUNE_CACHE_SIZE is {written!r}: write a number and a unit as in {SIZE_EXAMPLES}")
    return size
