"""Runs that a worker has taken and never begun."""

from __future__ import annotations

import contextlib
from uuid import uuid4

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Pending

from flows.servers import worker
from flows.servers.worker import POOL, connected, release_unbegun, worker_name

pytestmark = pytest.mark.e2e


def test_runs_that_were_taken_when_the_server_ended_wait_for_their_turn_again(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(prefect_api) as prefect:
        with contextlib.suppress(ObjectAlreadyExists):
            prefect.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        flow = prefect.create_flow_from_name(f"unbegun-{uuid4().hex[:8]}")
        deployment = prefect.create_deployment(flow_id=flow, name="unbegun", work_pool_name=POOL, paused=True)
        taken, begun = (prefect.create_flow_run_from_deployment(deployment, state=Pending()).id for _ in range(2))
        prefect.update_flow_run_labels(begun, {"prefect.worker.name": worker_name()})

        def states() -> list[StateType | None]:
            return [prefect.read_flow_run(run).state_type for run in (taken, begun)]

        release_unbegun(prefect_api)  # a worker may still say that it has taken it
        assert states() == [StateType.PENDING, StateType.PENDING]
        monkeypatch.setattr(worker, "UNBEGUN_SECONDS", -1.0)
        release_unbegun(prefect_api)
        assert states() == [StateType.SCHEDULED, StateType.PENDING]
        prefect.delete_deployment(deployment)
