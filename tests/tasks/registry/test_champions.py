"""Who a rollback goes back to, and how long the record of champions can become."""

from __future__ import annotations

import json

import pytest
from mlflow.entities.model_registry import RegisteredModel, RegisteredModelAlias, RegisteredModelTag

from tasks.registry.champions import CHAMPIONS_TAG, TAG_LENGTH, Reign, as_tag, line_of, record_of


def record(*reigns: str) -> list[Reign]:
    """`3` became champion; `3<` by a rollback."""
    return [Reign(version=r.rstrip("<"), since=None, why="rollback" if "<" in r else "promoted") for r in reigns]


@pytest.mark.parametrize(
    ("reigns", "line"),
    [
        ((), []),
        (("1", "2", "3"), ["1", "2", "3"]),
        (("1", "2", "3", "2<"), ["1", "2"]),
        (("1", "2", "3", "2<", "1<"), ["1"]),  # two rollbacks go back two champions
        (("1", "2", "3", "1<"), ["1"]),  # 2 had been deleted
        (("1", "2", "1<", "3"), ["1", "3"]),  # what was rolled back is not gone back to
        (("1", "2", "1", "2<"), ["1", "2"]),
        (("2", "2"), ["2"]),
        (("5<",), ["5"]),  # the record was cut before it
    ],
)
def test_a_rollback_goes_back_along_the_line(reigns: tuple[str, ...], line: list[str]) -> None:
    assert line_of(record(*reigns)) == line


def test_a_champion_that_was_set_elsewhere_is_in_the_record() -> None:
    tag = RegisteredModelTag(CHAMPIONS_TAG, as_tag(record("1", "2")))  # type: ignore[no-untyped-call]
    alias = RegisteredModelAlias("champion", 7)  # type: ignore[no-untyped-call]
    model = RegisteredModel("name", tags=[tag], aliases=[alias])
    assert [(reign.version, reign.since, reign.why) for reign in record_of(model)][2:] == [("7", None, "set elsewhere")]
    assert record_of(RegisteredModel("name")) == []


def test_the_record_keeps_its_newest_entries_within_what_a_tag_holds() -> None:
    long = [Reign(version=str(v), since="2026-01-01T00:00:00+00:00", why="promoted") for v in range(200)]
    kept = json.loads(as_tag(long))
    assert len(as_tag(long)) <= TAG_LENGTH
    assert kept[-1]["version"] == "199"
    assert len(kept) > 50
