"""Damage to what a home has beside artifacts and models: downloads, weights, replies, reports, Prefect's database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.data.source.download import download
from lib.errors import SourceError
from lib.evaluation.judge.cache import ReplyCache
from lib.files.disk import remove
from lib.model.gpt2.openai import FILES, Release, fetch_release
from tasks.record.outbox import new_record
from tasks.report.conclusion import Conclusion, write_report
from tests.faults.outcomes import FULL, Outcomes
from tests.faults.test_damage import DAMAGE
from tests.support.e2e import Home
from tests.support.http_server import HttpServer, Reply
from tests.support.said import after_the_first_line

pytestmark = pytest.mark.faults

TEXT = b"ham\thello\nspam\tfree entry\n" * 40
ETAG = '"1"'
SQLITE_NOTICES = ["cut in half", "emptied", "deleted", "a folder in its place"]  # it has no checksums


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.mark.parametrize("ending", ["part", "json"])
def test_partial_downloads(ending: str, server: HttpServer, tmp_path: Path, outcomes: Outcomes) -> None:
    """Without a checksum in the recipe, nothing else would notice that the beginning has changed."""
    for number, damage in enumerate(DAMAGE):
        scratch = tmp_path / f"{number}"
        address = server.serve(
            f"/{number}.tsv", Reply(TEXT, etag=ETAG, cut_after=500), Reply(TEXT, etag=ETAG), Reply(TEXT, etag=ETAG)
        )
        with pytest.raises(SourceError):
            download([address], tmp_path / "data", scratch=scratch)
        (file,) = scratch.glob(f"*.{ending}")
        DAMAGE[damage](file)
        with outcomes.trying(f"partial download, {'its beginning' if ending == 'part' else 'its note'}: {damage}"):
            assert download([address], tmp_path / f"data-{number}", scratch=scratch).file.read_bytes() == TEXT
            assert list(scratch.iterdir()) == []


def test_fetched_weights(server: HttpServer, tmp_path: Path, outcomes: Outcomes) -> None:
    contents = {name: name.encode() * 20 for name in FILES}
    for name, content in contents.items():
        server.serve(f"/tiny/{name}", Reply(content))
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    release = Release("tiny", "gpt2-small", (server.url("").rstrip("/"),), sums)
    for name in FILES[:3]:
        for damage in DAMAGE:
            fetch_release(release, tmp_path)
            DAMAGE[damage](tmp_path / name)
            with outcomes.trying(f"fetched weights: {damage}"):
                warned: list[str] = []
                fetch_release(release, tmp_path, warn=warned.append)
                assert {file: (tmp_path / file).read_bytes() for file in FILES} == contents
                assert damage == "deleted" or len(warned) == 1


def test_replies_of_a_judge(tmp_path: Path, outcomes: Outcomes) -> None:
    asked = {"messages": [{"role": "user", "content": "How good is it, from 0 to 100?"}]}
    for reply in ("85", "A long one. " * 30):
        for damage in DAMAGE:
            warned: list[str] = []
            cache = ReplyCache(tmp_path, warned.append)
            cache.keep(asked, reply)
            (file,) = tmp_path.iterdir()
            DAMAGE[damage](file)
            with outcomes.trying(f"judge's reply: {damage}"):
                found = cache.find(asked)
                assert found in (None, reply), f"{found} was used"
                assert found == reply or damage == "deleted" or file.name in warned[0]
                cache.keep(asked, reply)  # nothing is in its way
                assert cache.find(asked) == reply


def test_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """Nobody reads them but people; what is in the way of one does not end the run that writes it."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    record = new_record(experiment="finetune-classifier", name="a run", params={}, tags={})
    conclusion = Conclusion(("It is good.",), "card", page="<p>It is good.</p>")
    for damage in DAMAGE:
        file = write_report(conclusion, record)
        assert file is not None
        DAMAGE[damage](file)
        with outcomes.trying(f"report: {damage}"):
            assert write_report(conclusion, record) == file
            assert file.read_text(encoding="utf-8") == conclusion.page


@pytest.mark.skipif(not FULL, reason="whole runs: only at full scale")
@pytest.mark.parametrize("damage", SQLITE_NOTICES)
def test_prefects_database(damage: str, small_data: Path, tmp_path: Path, outcomes: Outcomes) -> None:
    home = Home(tmp_path / "home", small_data)
    home.run()
    database = home.folder / "prefect" / "prefect.db"
    for beside in database.parent.glob(f"{database.name}-*"):
        beside.unlink()
    DAMAGE[damage](database)
    with outcomes.trying(f"Prefect's database: {damage}"):
        again = home.call(*home.arguments())
        assert "Traceback" not in again.stderr, again.stderr
        if again.returncode:
            said = after_the_first_line(again.stderr)
            assert said.startswith("error: "), said
            assert said.count("\n") == 1, said
            assert "prefect" in said
            remove(database)  # as the sentence says
            assert home.call(*home.arguments()).returncode == 0
