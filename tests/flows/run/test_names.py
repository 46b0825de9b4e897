"""What a run is called: when it began and its recipe, unless a person called it something."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from prefect import runtime
from prefect.utilities.names import generate_slug

from flows.run.names import is_generated, name_of_repetition, name_of_run


def test_the_names_that_prefect_makes_up_are_known() -> None:
    assert all(is_generated(generate_slug(2)) for _ in range(500))


@pytest.mark.parametrize("name", ["alpha", "kappa3-draconis-nebula", "sigma123-canis-majoris", "omega-b", "alpha--b"])
def test_the_names_that_prefects_page_proposes_are_known(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize(
    "name",
    ["my-run", "lr-1e-4", "Monday", "second try", "alphabet", "11-25 quickstart", "classify quickstart 11-25 10:00:00"],
)
def test_a_name_that_a_person_typed_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.flow_run, "name", name, raising=False)
    assert name_of_run("classify", "quickstart") == name


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.flow_run, "name", "witty-beluga", raising=False)


@pytest.mark.usefixtures("unnamed")
def test_others_are_called_by_time_and_recipe() -> None:
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d quickstart", name_of_run("quickstart"))
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d score", name_of_run("score"))


@pytest.mark.usefixtures("unnamed")
def test_names_differ_in_what_a_column_of_a_list_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = iter(datetime(2026, 11, 25, 10, 0) + timedelta(seconds=second) for second in range(100))
    monkeypatch.setattr("flows.run.names.datetime", SimpleNamespace(now=lambda: next(starts)))
    names = [name_of_run(*words) for words in (("a-recipe-with-a-long-name",), ("score", "spam")) for _ in range(20)]
    names += [name_of_repetition(name_of_run("a-recipe-with-a-long-name")) for _ in range(20)]
    assert len({name[:20] for name in names}) == len(names)


def test_a_run_that_found_all_it_needed_says_so_in_its_name() -> None:
    assert name_of_repetition("11-25 10:00:00 quickstart") == "11-25 10:00:00 cached quickstart"
    assert name_of_repetition("the night before") == "the night before"
