"""Names a run on Prefect's and MLflow's pages, and links the two."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import coolname.data
from prefect import runtime
from prefect.client.orchestration import get_client

from lib.secrets import public
from tasks.environment import PREFECT_PORT
from tasks.record.pages import git_commit
from tasks.running import page_here

# Prefect's server calls a run "witty-beluga"; its page proposes names such as "kappa3-draconis-nebula".
WORD_LISTS: Any = coolname.data.config
SLUG_WORDS = {word for part in WORD_LISTS.values() for word in part.get("words", ())}
STAR = re.compile(
    r"(alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi"
    r"|psi|omega)\d*(-[a-z-]*)?"
)

NAME = re.compile(r"(\d\d-\d\d \d\d:\d\d:\d\d) (.+)")  # as made here
CACHED = "cached"


def named_by_recipe(*words: str) -> Callable[[], str]:
    """What names the runs of a flow whose parameter `recipe` is a recipe: these words and the recipe."""
    return lambda: name_of_run(*words, runtime.flow_run.parameters["recipe"].name)


def name_of_run(*words: str) -> str:
    """What the present run is called: as a person called it, or by when it began, by this machine's clock, and these
    words. The time comes first, without the year: columns of the pages show some 20 characters, and runs of one recipe
    must differ there."""
    given = str(runtime.flow_run.name)
    return " ".join((f"{datetime.now():%m-%d %H:%M:%S}", *words)) if is_generated(given) else given


def name_of_repetition(name: str) -> str:
    """The name of a run that found all it needed: `11-26 14:09:30 cached quickstart`. One that a person typed stays."""
    made = NAME.fullmatch(name)
    return f"{made[1]} {CACHED} {made[2]}" if made else name


def rename_run(name: str) -> None:
    """Renames the present run on Prefect's pages."""
    with get_client(sync_client=True) as prefect:
        prefect.update_flow_run(runtime.flow_run.id, name=name)


def is_generated(name: str) -> bool:
    """Whether Prefect made the name up, because nobody said one."""
    words = name.split("-")
    return (len(words) == 2 and SLUG_WORDS.issuperset(words)) or STAR.fullmatch(name) is not None


def run_page() -> str:
    """Where Prefect shows the present run, or will once `finetune ui` runs."""
    if os.environ.get("PREFECT_API_URL"):
        return public(str(runtime.flow_run.ui_url))
    return f"{page_here('prefect') or f'http://127.0.0.1:{PREFECT_PORT}'}/runs/flow-run/{runtime.flow_run.id}"


def run_tags(recipe: str, source: str) -> dict[str, str]:
    """MLflow's tags of the present run of a recipe; `source` is the file of its flow."""
    return {"recipe": recipe, **link_tags(source)}


def link_tags(source: str) -> dict[str, str]:
    """MLflow's tags that lead from the present run to Prefect and to the code; `source` is the file of its flow."""
    return {
        "prefect.flow_run_id": str(runtime.flow_run.id),
        "prefect.flow_run_url": run_page(),
        "mlflow.source.name": source,
        "mlflow.source.type": "LOCAL",
        **git_commit(),
    }
