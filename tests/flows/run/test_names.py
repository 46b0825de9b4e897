"""What a run is called: the kind, the recipe and when it began, unless a person called it something."""

from __future__ import annotations

import re

import pytest
from prefect import runtime
from prefect.utilities.names import generate_slug

from flows.run.names import is_generated, name_of_run


def test_the_names_that_prefect_makes_up_are_known() -> None:
    assert all(is_generated(generate_slug(2)) for _ in range(500))


@pytest.mark.parametrize("name", ["alpha", "kappa3-draconis-nebula", "sigma123-canis-majoris", "omega-b", "alpha--b"])
def test_the_names_that_prefects_page_proposes_are_known(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize(
    "name", ["my-run", "lr-1e-4", "Monday", "second try", "alphabet", "classify quickstart 11-25 10:00:00"]
)
def test_a_name_that_a_person_typed_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.flow_run, "name", name, raising=False)
    assert name_of_run("classify", "quickstart") == name


def test_others_are_called_by_kind_recipe_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.flow_run, "name", "witty-beluga", raising=False)
    assert re.fullmatch(r"classify quickstart \d\d-\d\d \d\d:\d\d:\d\d", name_of_run("classify", "quickstart"))
    assert re.fullmatch(r"score \d\d-\d\d \d\d:\d\d:\d\d", name_of_run("score"))
