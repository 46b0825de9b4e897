"""Changes Prefect's settings for a block, in place of its own `temporary_settings`.

That reads and checks all settings anew, which takes as long as several steps of a run whose artifacts are all there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def changed_settings(**sections: Mapping[str, Any]) -> Iterator[None]:
    """In this block these values are set; `sections` are named as Prefect's settings name them: `api={"url": ...}`.
    Values are not checked."""
    from prefect.context import SettingsContext, get_settings_context

    context = get_settings_context()
    changed = {
        name: getattr(context.settings, name).model_copy(update=dict(values)) for name, values in sections.items()
    }
    with SettingsContext(profile=context.profile, settings=context.settings.model_copy(update=changed)):
        yield
