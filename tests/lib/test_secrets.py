from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
import yaml

from lib.errors import RecipeError
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.reading import build_recipe
from lib.secrets import (
    Address,
    addresses_with_secrets,
    look_also,
    public,
    public_values,
    redact_error,
    redacted,
    revealed,
    secret_named,
)

WHOLE = "https://me:correct-horse@example.org/x.csv?id=3&token=battery-staple"
SHOWN = "https://example.org/x.csv?id=3"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://a:b@example.org/x.csv", "https://example.org/x.csv"),
        ("https://me:secret@example.org/api", "https://example.org/api"),
        ("https://me:p@ss@example.org/api", "https://example.org/api"),
        ("https://me:pa/ss@example.org/api", "https://example.org/api"),
        ("https://me:pa?s#s@example.org/api", "https://example.org/api"),
        ("https://ghp_0123456789abcdef@example.org/x", "https://example.org/x"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("http://localhost:8080/@of/a@1.0/x.csv", "http://localhost:8080/@of/a@1.0/x.csv"),
        ("http://[::1]:8080/a@1.0/x.csv", "http://[::1]:8080/a@1.0/x.csv"),
        ("postgresql://me:pa/ss@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("postgresql+psycopg2://me:12/p@ss/w@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        ("postgresql://db/mlflow?user=me&password=a&sslmode=require", "postgresql://db/mlflow?user=me&sslmode=require"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("https://example.org/x.csv?X-Amz-Date=1&X-Amz-Signature=ab#top", "https://example.org/x.csv#top"),
        ("https://example.org/x.csv?X%2DAmz%2DSignature=ab", "https://example.org/x.csv"),
        ("https://a.blob.core.windows.net/c/x.csv?sv=2021&sig=ab%3D", "https://a.blob.core.windows.net/c/x.csv"),
        ("https://example.org/x?set=2024&sig=ab", "https://example.org/x?set=2024"),
        ("https://example.org/x?versionId=3&X-Amz-Date=1&X-Amz-Signature=ab", "https://example.org/x?versionId=3"),
        ("https://example.org/x?Expires=1&Policy=c&Signature=ab&Key-Pair-Id=K&id=3", "https://example.org/x?id=3"),
        ("https://example.org/x?AWSAccessKeyId=a&Expires=1&Signature=ab&page=2", "https://example.org/x?page=2"),
        (
            "https://example.org/x?sv=1&sr=b&st=1&se=2&sp=r&spr=https&sip=::1&skoid=o&ske=3&sig=a",
            "https://example.org/x",
        ),
        ("https://example.org/x?id=3&token=ab&part=2", "https://example.org/x?id=3&part=2"),
        ("https://example.org/x?id=3&private_token=ab&rlkey=cd", "https://example.org/x?id=3"),
        ("https://example.org/x#access_token=ab", "https://example.org/x"),
        ("https://example.org/x?id=3", "https://example.org/x?id=3"),
        ("https://example.org/x?", "https://example.org/x?"),
        ("s3://data/what?token=1.csv", "s3://data/what?token=1.csv"),
        ("s3://key:secret@data/x.csv", "s3://data/x.csv"),
        ("/data/what?token=1.csv", "/data/what?token=1.csv"),
        ("a@b.csv", "a@b.csv"),
        ("https://me:${PW}@example.org/x?token=${TOKEN}", "https://me:${PW}@example.org/x?token=${TOKEN}"),
        ("https://me:a${PW}@example.org/x?sig=${SIG}&sv=1", "https://example.org/x?sig=${SIG}&sv=1"),
        ("${PLACE}", "${PLACE}"),
    ],
)
def test_what_lets_people_in_is_shown_nowhere(address: str, shown: str) -> None:
    assert public(address) == shown
    assert Address(address).has_secret == (address != shown)
    assert "${" in address or revealed(Address(Address(address))) == address


def test_an_address_gives_its_secrets_only_to_who_connects() -> None:
    address = Address(WHOLE)
    assert revealed(address) == WHOLE
    told = f"{address} {address!r} {json.dumps(address)} {[address]} {pickle.dumps(address)!r}"
    assert "correct-horse" not in told
    assert "battery-staple" not in told
    assert address == SHOWN == Address(SHOWN)
    assert hash(address) == hash(SHOWN)
    assert revealed(copy.deepcopy([address])[0]) == WHOLE


def test_a_recipe_keeps_them_and_shows_none() -> None:
    recipe = build_recipe({"data": {"files": [WHOLE, "b.csv"]}, "model": {}}, model=ClassifyRecipe)
    assert [revealed(place) for place in recipe.data.files.given()["train"]] == [WHOLE, "b.csv"]
    for shown in (f"{recipe}", recipe.model_dump_json(), yaml.safe_dump(recipe.model_dump(mode="json"))):
        assert SHOWN in shown
        assert "correct-horse" not in shown
        assert "battery-staple" not in shown
    assert list(addresses_with_secrets(recipe.model_dump())) == ["data.files.train"]
    again = build_recipe(recipe.model_dump(), model=ClassifyRecipe)
    assert revealed(again.data.files.given()["train"][0]) == WHOLE


@pytest.mark.parametrize(
    "values",
    [{"data": {"url": {WHOLE: 1}}}, {"data": {"files": [WHOLE, WHOLE]}}, {"data": {"url": "a", "source": WHOLE}}],
)
def test_a_refused_recipe_shows_none(values: Any) -> None:
    with pytest.raises(RecipeError) as refused:
        build_recipe(values, {"data.sha256": WHOLE}, model=ClassifyRecipe)
    assert SHOWN in str(refused.value)
    assert "correct-horse" not in str(refused.value)
    assert "battery-staple" not in str(refused.value)


def test_references_are_kept_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_PASSWORD", "p/w@x")
    monkeypatch.setenv("SMS_QUERY", "sv=1&sig=a%2Fb")
    address = Address("https://me:${SMS_PASSWORD}@example.org/x.csv?${SMS_QUERY}")
    assert str(address) == "https://me:${SMS_PASSWORD}@example.org/x.csv?${SMS_QUERY}"
    assert not address.has_secret
    assert revealed(address) == "https://me:p%2Fw%40x@example.org/x.csv?sv=1&sig=a%2Fb"


def test_a_reference_is_looked_up_in_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.secrets._look_ups", [lambda name: {"A_TOKEN": "of-here"}.get(name)])
    look_also(lambda name: {"A_TOKEN": "of-there", "B_TOKEN": "of-there"}.get(name))
    assert [secret_named(name) for name in ("A_TOKEN", "B_TOKEN", "C")] == ["of-here", "of-there", None]
    with pytest.raises(RecipeError, match=r"\$\{C_D\} names C_D, .*environment variable.* Secret block 'c-d'"):
        revealed("${C_D}")


def test_known_secrets_are_taken_out_of_the_words_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_PASSWORD", 'open "se/same')
    monkeypatch.setenv("SOME_SERVER", "https://me:lives-in-env@example.org")
    monkeypatch.setenv("A_KEY", "secret")  # a word of any sentence
    Address("https://me:known%20one@example.org")
    words = 'open "se/same, open%20%22se%2Fsame, open \\"se/same, lives-in-env, known%20one, known one, secret'
    assert redacted(words) == "***, ***, ***, ***, ***, ***, secret"
    assert redacted("asked https://me:pw@example.org/x?sig=ab, 'b'") == "asked https://example.org/x 'b'"
    assert redacted("write postgresql://user:password@host:5432/") == "write postgresql://user:password@host:5432/"
    error = OSError(5, "lives-in-env")
    error.__cause__ = ValueError("known one")
    redact_error(error)
    assert error.args == (5, "***")
    assert str(error.__cause__) == "***"


def test_nested_values_lose_the_secrets_of_their_addresses() -> None:
    shared = public_values({"data": {"url": ["https://me:secret@example.org/a.csv", "a@b.csv"], "rows": 3}})
    assert shared == {"data": {"url": ["https://example.org/a.csv", "a@b.csv"], "rows": 3}}
