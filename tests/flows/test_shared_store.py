"""Whole flows of homes that share a store in a bucket: what one has made, the other reuses, and scores with."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.store import main
from lib.store.bucket import Bucket
from tests.support.e2e import STEPS, Home, digests, ran
from tests.support.object_servers import BUCKET, SECRET, environment

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("server", ["moto", "seaweedfs"])
def test_a_store_that_was_copied_to_a_bucket_serves_another_home_with_all_its_steps(
    finished: tuple[Home, Any],
    home: Home,
    server: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    first, result = finished
    endpoint = request.getfixturevalue(f"{server}_server")
    place = f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"
    for name, value in {**environment(endpoint), "FINETUNE_HOME": str(tmp_path / "copying")}.items():
        monkeypatch.setenv(name, value)
    assert main(["copy", str(first.folder / "store"), place, "--json"]) == 0
    copied = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (copied["artifacts"], copied["damaged"]) == (len(STEPS), [])

    other = replace(home, environment={**home.environment, **environment(endpoint), "FINETUNE_STORE": place})
    done = other.call(*other.arguments("--json"))
    assert done.returncode == 0, done.stdout + done.stderr
    again = json.loads(done.stdout.splitlines()[-1])
    assert ran(again) == []
    assert digests(again) == digests(result)
    assert all(set(step["artifact"]) == {"step", "key", "digest"} for step in again["steps"] if step["artifact"])
    assert not [path for path in (other.folder / "store").iterdir() if not path.name.startswith(".")]
    written = (path for path in other.folder.rglob("*") if path.is_file() and path.stat().st_size < 10**6)
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in done.stdout + done.stderr

    Bucket(place).put("inbox/messages.csv", other.data.read_bytes())
    files = [f"{place}/inbox", f"--output={place}/answers", "--text_column=body", "--json"]
    done = other.call(*files, module="flows.score")
    assert done.returncode == 0, done.stdout + done.stderr
    scored = json.loads(done.stdout.splitlines()[-1])
    assert (scored["output"], scored["scored"], scored["passed_over"]) == (f"{place}/answers", 400, [])
    (part,) = (each.name for each in Bucket(place).list("answers/scored"))
    content, _ = Bucket(place).get(part) or (b"", "")
    assert pq.read_table(pa.BufferReader(content))["file"].unique().to_pylist() == [f"{place}/inbox/messages.csv"]
    assert SECRET not in done.stdout + done.stderr
