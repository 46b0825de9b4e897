"""Which version answers: a new champion, a share of the requests, a shadow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from flows.http import comparing
from flows.http.batching import Manner, Turns
from flows.http.comparing import Comparison
from flows.http.following import Follower
from flows.http.metrics import Metrics
from flows.http.versions import Answering, Registered, Served, Share
from lib.errors import ServiceError
from tasks.registry.models import Version
from tests.support.said import Lines


def version(served: Served, number: str, at: int = 0) -> Served:
    return replace(served, registered=Registered(Version("tiny", number), at))


class Registry:
    """A registry whose champion can be changed; a version above 8 cannot be loaded."""

    def __init__(self, served: Served) -> None:
        self.served, self.champion = served, served.registered
        self.loaded: list[str] = []
        self.away = False

    def find(self) -> Registered:
        if self.away:
            raise ServiceError("it is away")
        return self.champion

    def load(self, registered: Registered) -> Served:
        self.loaded.append(registered.version.version)
        if int(registered.version.version) > 8:
            raise ServiceError("it is damaged")
        return replace(self.served, registered=registered)

    def promote(self, number: str, at: int = 0) -> None:
        self.champion = Registered(Version("tiny", number), at)


@pytest.fixture
def followed(served: Served) -> tuple[Registry, Follower]:
    registry = Registry(served)
    return registry, Follower(Answering(served), registry.find, registry.load, every=5.0)


def check(follower: Follower, times: int = 1) -> str:
    """The version that answers after so many checks."""
    for _ in range(times):
        asyncio.run(follower.check())
    return follower.answering.champion.version


def test_a_new_champion_answers_once_it_is_loaded(followed: tuple[Registry, Follower], lines: Lines) -> None:
    registry, follower = followed
    assert check(follower, 2) == "7"
    registry.promote("8")
    assert check(follower, 3) == "8"
    assert registry.loaded == ["8"]
    (line,) = lines()
    assert (line["event"], line["before"], line["version"]) == ("new champion", "7", "8")


def test_a_number_that_is_used_again_is_another_version(followed: tuple[Registry, Follower]) -> None:
    registry, follower = followed
    registry.promote("7", at=1)
    assert check(follower) == "7"
    assert registry.loaded == ["7"]
    assert follower.answering.champion.registered.at == 1


def test_a_champion_that_cannot_be_loaded_is_told_once_and_tried_less_and_less(
    followed: tuple[Registry, Follower], lines: Lines
) -> None:
    registry, follower = followed
    registry.promote("9")
    assert check(follower, 16) == "7"
    assert len(registry.loaded) == 5  # after 5, 10, 20 and 40 seconds
    registry.promote("8")
    assert check(follower) == "8"
    failed, switched = lines()
    assert failed["event"] == "version 7 goes on: the new champion, version 9, cannot be loaded (it is damaged)"
    assert failed["level"] == "warning"
    assert "traceback" not in failed
    assert switched["event"] == "new champion"


def test_a_registry_that_is_away_is_told_once(followed: tuple[Registry, Follower], lines: Lines) -> None:
    registry, follower = followed
    registry.away = True
    assert check(follower, 3) == "7"
    registry.away = False
    check(follower)
    registry.away = True
    check(follower)
    said = "version 7 goes on: its registered model cannot be looked up (it is away)"
    assert [line["event"] for line in lines()] == [said, said]


@pytest.mark.parametrize("part", [0.1, 0.5, 1.0])
def test_a_share_of_the_requests_is_chosen_by_their_ids(served: Served, part: float) -> None:
    other = version(served, "8")
    answering = Answering(served, Share(other, part))
    chosen = [answering.to(f"id {number}") for number in range(2000)]
    assert chosen == [answering.to(f"id {number}") for number in range(2000)]
    assert chosen.count(other) / 2000 == pytest.approx(part, abs=0.03)
    assert Answering(served).to("id 1") is served


@pytest.fixture
def compared(served: Served) -> tuple[Comparison, list[tuple[str, Mapping[str, float]]]]:
    """A comparison with version 8, which gives the same probabilities and never `spam`, and what it has recorded."""
    strict = replace(served, predictor=replace(served.predictor, threshold=0.999999999))
    records: list[tuple[str, Mapping[str, float]]] = []
    metrics = Metrics()

    def record(each: Version, role: str, figures: Mapping[str, float]) -> None:
        records.append((f"{each.version} {role}", figures))

    return Comparison(Turns(Manner(), metrics.batch), metrics, record, version(strict, "8")), records


TEXTS = [f"{number} prizes" for number in range(20)]


async def answer(comparison: Comparison, served: Served, texts: list[str]) -> list[str]:
    """The labels of the version that answers; returns when the shadow has answered too."""
    predictions = await comparison.turns.predictions(served.predictor, texts)
    comparison.answered("one", served, texts, predictions, seconds=0.25)
    while comparison._asking:
        await asyncio.sleep(0)
    return [prediction.label for prediction in predictions]


def test_a_shadow_is_asked_the_same_and_compared(
    served: Served, compared: tuple[Comparison, list[tuple[str, Mapping[str, float]]]], lines: Lines
) -> None:
    comparison, records = compared
    labels = asyncio.run(answer(comparison, served, TEXTS))
    ham = labels.count("ham")
    assert 0 < ham < len(TEXTS)
    comparison.write()
    (one, ours), (other, theirs) = records
    assert (one, other) == ("7 answers", "8 shadow")
    assert ours["serving/share/ham"] == ham / len(TEXTS)
    assert (ours["serving/requests"], ours["serving/mean_milliseconds"]) == (1, 250)
    assert theirs["serving/share/ham"] == 1
    assert theirs["serving/agreement"] == ham / len(TEXTS)
    assert theirs["serving/mean_difference"] == pytest.approx(0, abs=1e-9)
    text = comparison.metrics.text().decode()
    assert f'finetune_shadow_texts_total{{outcome="differed",shadow="8",version="7"}} {len(TEXTS) - ham}.0' in text
    (line,) = lines()
    assert (line["event"], line["request"], line["texts"], line["agreed"]) == ("shadow", "one", len(TEXTS), ham)
    assert not any(text in json.dumps(line) for text in TEXTS)


def test_what_would_wait_too_long_for_the_shadow_is_dropped_and_counted(
    served: Served, compared: tuple[Comparison, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, _ = compared
    monkeypatch.setattr(comparing, "MOST_WAITING", 10)
    asyncio.run(answer(comparison, served, TEXTS))
    assert 'outcome="dropped",shadow="8",version="7"} 20.0' in comparison.metrics.text().decode()


def test_a_record_that_fails_is_told_once(served: Served, compared: tuple[Comparison, Any], lines: Lines) -> None:
    comparison, _ = compared

    def fails(each: Version, role: str, figures: Mapping[str, float]) -> None:
        raise ServiceError("it is away")

    comparison.record, comparison.shadow = fails, None
    asyncio.run(answer(comparison, served, TEXTS))
    comparison.write()
    comparison.write()
    assert [line["event"] for line in lines()] == ["MLflow does not take the figures of version 7 (it is away)"]
