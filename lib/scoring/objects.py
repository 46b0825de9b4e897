"""Asks object stores for what there is to score, and for what they say of an object, by which a change shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from lib.data.source.endings import FORMATS, Format, known_ending
from lib.data.source.objects import find_states, state_of
from lib.data.source.places import has_pattern, is_hidden
from lib.data.source.transfer import AddressError
from lib.errors import SourceError

SECONDS = 30.0  # for an answer
WAITS = (1.0, 4.0, 10.0)  # seconds before a store that did not answer is asked again
TOLD = ("etag", "content_length")  # what a store says of an object both alone and in a list

Answer = TypeVar("Answer")
State = Mapping[str, str]


def find(given: str, format: Format | None) -> dict[str, State]:
    """Returns the state of each object that an address, a folder or a pattern stands for, in order. Of a folder those
    count whose ending tells a format (`format` overrides it), and that are not hidden. Raises SourceError if the store
    does not answer or refuses."""
    found = _found(given)
    if list(found) == [given] or has_pattern(given):
        return found
    return {address: state for address, state in found.items() if _is_data(address, given, format)}


def below(given: str) -> list[str]:
    """Returns all objects in a folder, but hidden ones; none for an address or a pattern. Raises as `find`."""
    found = [] if has_pattern(given) else list(_found(given))
    return [address for address in found if address != given and not _is_hidden(address, given)]


def current_state(address: str) -> State:
    """Asks what the store says of an object; raises SourceError if it does not answer, or has none."""
    return told(patiently(address, lambda: state_of(address, timeout=SECONDS)))


def told(state: State) -> State:
    """Returns of an object's state what tells its contents, and is there however it was asked for."""
    return {name: state[name] for name in TOLD if name in state} if "etag" in state else state


def _found(given: str) -> dict[str, State]:
    found = patiently(given, lambda: find_states(given, timeout=SECONDS))
    return {address: told(state) for address, state in found.items()}


def _is_data(address: str, folder: str, format: Format | None) -> bool:
    kind = FORMATS.get(known_ending(address))
    return kind is not None and format in (None, kind) and not _is_hidden(address, folder)


def _is_hidden(address: str, folder: str) -> bool:
    return is_hidden(address.removeprefix(folder.rstrip("/")))


def patiently(address: str, ask: Callable[[], Answer]) -> Answer:
    """Asks again where a store does not answer, for a quarter of a minute; raises SourceError then, and at once where
    it has no such object or refuses."""
    waits = list(WAITS)
    while True:
        try:
            return ask()
        except AddressError as error:
            if not (error.temporary and waits):
                raise SourceError(
                    f"{address} {error}: see that the address is right and its store works, and run again; finished"
                    " parts are kept"
                ) from error
        time.sleep(waits.pop(0))
