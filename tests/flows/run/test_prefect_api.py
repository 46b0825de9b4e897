"""What a run from a terminal asks of Prefect. Whether it finds a server is tested with the command line."""

from __future__ import annotations

import httpx
import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.run import prefect_api
from flows.run.prefect_api import no_heartbeats, run_beside_prefect
from lib.errors import ServiceError


def test_a_run_sends_no_heartbeats_unless_the_user_has_set_how_often() -> None:
    default = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    with no_heartbeats():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
    assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == default
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: default + 30}), no_heartbeats():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == default + 30


@pytest.mark.parametrize(("status", "refused"), [(503, 2), (500, 1)])
def test_a_flow_that_a_busy_server_did_not_begin_is_begun_again(
    status: int, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_api, "BUSY_SECONDS", (0, 0, 0))
    request = httpx.Request("POST", "http://127.0.0.1/")
    refusals = [httpx.HTTPStatusError("", request=request, response=httpx.Response(status)) for _ in range(2)]

    def begin() -> str:
        if refusals:
            raise refusals.pop()
        return "done"

    warned: list[str] = []
    if status == 503:
        assert run_beside_prefect(begin, warned.append) == "done"
    else:
        with pytest.raises(ServiceError, match="before the run had begun"):
            run_beside_prefect(begin, warned.append)
    assert (len(refusals), warned) == (2 - refused, [])
