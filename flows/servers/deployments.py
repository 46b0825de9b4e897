"""Registers a work pool, its queue, prefect.yaml's deployments and deploy/automations.yaml.

Registering is idempotent, and keeps what a person has set on the page: the queue's limit, a disabled automation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists

from flows.run.prefect_api import find_prefect
from flows.servers.worker import POOL, connected
from lib.errors import ServiceError
from tasks.environment import shipped

QUEUE = "gpu"
STEPS_LIMIT = "tag:gpu"  # Prefect's name for the limit of steps with the tag `gpu`
RUNS_AT_ONCE = 1  # whichever deployment they are of: a training wants a card for itself
MOST_LIMITS = 200  # that are read; Prefect's own most
DEPLOYMENTS = shipped("prefect.yaml")
AUTOMATIONS = shipped("deploy/automations.yaml")
LINES_OF_FAILURE = 3  # of Prefect's own output, in an error


def register(api: str) -> list[str]:
    """Registers everything with the server at this address; the deployments' names, `flow/deployment`. Raises
    ServiceError with one sentence if the server does not answer or refuses something."""
    find_prefect(api)
    with connected(api) as prefect:
        _limit(prefect)
        paused = [known.id for known in _known(prefect) if known.paused]
        _deploy(api)
        for deployment in paused:
            prefect.pause_deployment(deployment)  # a person's choice, which `prefect deploy` takes back
        deployments = _deployments(prefect)
        for automation in yaml.safe_load(AUTOMATIONS.read_text(encoding="utf-8")):
            _automate(prefect, _with_ids(automation, deployments))
    return sorted(deployments)


def _limit(prefect: SyncPrefectClient) -> None:
    """Makes the pool, its queue and the limits of both kinds, where they are not there yet.

    The queue holds back whole runs, before they take memory. It does not count a run that is being cancelled and has
    not ended yet, nor one that a person starts in a terminal: the limit of the tag, which steps carry that use the
    card, does. Both come before the deployments: the queue that `prefect deploy` would make has no limit.
    """
    with suppress(ObjectAlreadyExists):
        prefect.create_work_pool(WorkPoolCreate(name=POOL, type="process", description="Runs of finetune-flows"))
    with suppress(ObjectAlreadyExists):
        prefect.create_work_queue(
            QUEUE, description="One run at a time", concurrency_limit=RUNS_AT_ONCE, work_pool_name=POOL
        )
    if STEPS_LIMIT not in {limit.name for limit in prefect.read_global_concurrency_limits(limit=MOST_LIMITS)}:
        prefect.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=STEPS_LIMIT, limit=RUNS_AT_ONCE))


def _deploy(api: str) -> None:
    """Prefect's own command, which reads prefect.yaml; it asks nothing, because it can see no terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=DEPLOYMENTS.parent,
        env={**os.environ, "PREFECT_API_URL": api, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is for this program, which then stops in order
    )
    if done.returncode:
        said = " ".join(" ".join(done.stdout.strip().splitlines()[-LINES_OF_FAILURE:]).split())
        raise ServiceError(f"the deployments of {DEPLOYMENTS} cannot be registered ({said}): correct that file")


def _known(prefect: SyncPrefectClient) -> list[DeploymentResponse]:
    """The file's deployments, as far as the server has them."""
    names = [
        deployment["name"] for deployment in yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    ]
    return prefect.read_deployments(deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=names)))


def _deployments(prefect: SyncPrefectClient) -> dict[str, UUID]:
    """The ids of the file's deployments, by `flow/deployment`."""
    return {f"{prefect.read_flow(known.flow_id).name}/{known.name}": known.id for known in _known(prefect)}


def _with_ids(automation: Mapping[str, Any], deployments: Mapping[str, UUID]) -> AutomationCore:
    """An automation of the file as Prefect takes it: `deployment` by name becomes the id that this server gave it."""
    actions = []
    for action in automation["actions"]:
        action = dict(action)
        if "deployment" in action:
            action["deployment_id"] = str(deployments[action.pop("deployment")])
        actions.append(action)
    return AutomationCore.model_validate({**automation, "actions": actions})


def _automate(prefect: SyncPrefectClient, automation: AutomationCore) -> None:
    """Makes the automation, or changes the one of this name; one that is the same keeps what it has counted."""
    known = prefect.read_automations_by_name(automation.name)
    if not known:
        prefect.create_automation(automation)
        return
    wanted = automation.model_copy(update={"enabled": known[0].enabled})
    if _content(wanted) != _content(known[0]):
        prefect.update_automation(known[0].id, wanted)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What an automation does, with sets as sets and without the ids that the server gives."""
    content = automation.model_dump(include=set(AutomationCore.model_fields))
    content["trigger"].pop("id", None)
    return content
