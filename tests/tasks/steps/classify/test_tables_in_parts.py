"""Every table of the flow has the rows, and the order of rows, that it had when a table was one file held in memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lib.data import groups, parts
from lib.data.parts import Parts
from lib.data.tables import MESSAGES, SPLIT, TOKENS
from lib.store.folder import FolderStore
from tests.support.recipes import load_recipe
from tests.support.steps import STEPS, performed

TABLES = {
    "messages": (MESSAGES, ("messages",)),
    "balance": (MESSAGES, ("balanced", "reserve")),
    "split": (SPLIT, ("train", "validation", "test")),
    "tokenize": (TOKENS, ("train", "validation", "test", "reserve")),
}
NO_ROWS = "e3b0c44298fc1c14"
SMS = "b4bce75baffbb3ef"
# The beginning of the SHA-256 of each table's rows, as JSON, in the order of TABLES.
ROWS = {
    "quickstart": "f5fefc827dc4d881 f5fefc827dc4d881 - 8d72d39218c38ff6 a5c1f5ca80c0d46c 68ed3a3efef5fb07"
    " 3e0527c949941169 e7e083383f25de98 b5cff5aa46c6382a -",
    "sms-tiny": f"{SMS} {SMS} - f2def4ec1cfb48a2 d85b3846600bf189 240988060e21c0c4"
    " 761f1c5adaa17f0e 406121ab9240753a e1a3ccb3a8f674b7 -",
    "undersampled": f"{SMS} 229cf5beefa7e6a6 854b2c588d507bca 2b6193ac3864f6fc 8ecb048e229fc4d4 403c1c1a4617cfe6"
    " 271154a901438c62 fd898f9861d5a27f 6ff727c9248735dc 35fd631c8a5fef90",
    "oversampled": f"{SMS} f29ffcad27d95f4f - 781ebcf50e52368f 0441b734654addfd 48c3079156bbd75a"
    " 91ed62608b404743 45dd21c2a0486173 6403bd9dc6d30930 -",
    "as published": "b3dbf39fc1faee18 0698c3c4314b36c4 d4907880535c31dc 19e04fca94191210 d1cc4b865e951068"
    " 330f1a7ab9a40085 b65fadb6114dad42 1b185170728b1f79 735bdb42817d4da3 13e1d5cd4e7cb923",
}
CHANGES: dict[str, dict[str, Any]] = {
    "undersampled": {"balance.method": "undersample"},
    "oversampled": {"balance.method": "oversample"},
    "as published": {
        "data.quoting": "csv",
        "balance.method": "undersample",
        "split.stratify": "false",
        "split.group_duplicates": "false",
    },
}


def digest(table: pa.Table) -> str:
    """The beginning of the SHA-256 of the rows as lines of JSON, with tokens last."""
    table = table.select(sorted(table.column_names, key=lambda name: name == "tokens"))
    lines = "".join(json.dumps(list(row.values()), ensure_ascii=False) + "\n" for row in table.to_pylist())
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in ROWS if name != "quickstart"])
def test_the_sms_collection(name: str, tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = (real_data / "sms+spam+collection.zip").as_uri()
    check(name, "sms-tiny", {"data.url": url, **CHANGES.get(name, {})}, tmp_path, monkeypatch)


def test_the_bundled_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("quickstart", "quickstart", {}, tmp_path, monkeypatch)


def check(name: str, recipe: str, changes: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the tables of a recipe, in several parts, and compares their rows."""
    monkeypatch.setenv("FINETUNE_HOME", str(folder / "home"))
    monkeypatch.setattr(parts, "ROWS_PER_PART", 1000)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 128)
    made = performed(FolderStore(folder / "store"), load_recipe(recipe, changes), STEPS[:7])
    tables = {
        (step, table): Parts(made[step].file(table), schema)
        for step, (schema, names) in TABLES.items()
        for table in names
    }
    rows = {place: digest(table.table()) for place, table in tables.items()}
    expected = [NO_ROWS if each == "-" else each for each in ROWS[name].split()]
    assert list(rows.values()) == expected, rows
    assert len(tables["messages", "messages"].files) == -(-len(tables["messages", "messages"]) // 1000)
