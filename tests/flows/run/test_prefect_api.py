"""What a run from a terminal asks of Prefect. Whether it finds a server is tested with the command line."""

from __future__ import annotations

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.run.prefect_api import no_heartbeats


def test_a_run_sends_no_heartbeats_unless_the_user_has_set_how_often() -> None:
    default = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    with no_heartbeats():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
    assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == default
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: default + 30}), no_heartbeats():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == default + 30
