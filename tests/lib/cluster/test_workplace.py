"""What a worker on another machine does, in this process: paths that travel, and a bucket that is all they share."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from lib.cluster.cluster import HERE, Cluster, paired
from lib.cluster.seen import noted, require_seen
from lib.cluster.travel import Moved, packed, unpacked
from lib.cluster.workplace import PARTS, SharedStore
from lib.data.parts import Parts, PartsWriter
from lib.data.tables import MESSAGES
from lib.data.tokens import write_tokens
from lib.errors import ClusterError
from lib.store.artifacts import Artifact, key_of
from lib.store.folder import FolderStore
from lib.store.objects import ObjectStore
from lib.store.store import Making, Store
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.object_servers import BUCKET, SECRET, environment, moto

ROWS = 50


class Named(NamedTuple):
    name: str
    files: list[Path]


@dataclass(frozen=True)
class Plain:
    named: Named
    number: int


def test_paths_travel_as_numbers_of_folders_and_names() -> None:
    item = Plain(Named("a", [Path("/out/train/part-0"), Path("/scratch")]), 3)
    moved = packed(({"whole": item}, None), [Path("/out"), Path("/scratch")])
    assert list(moved[0]["whole"].named.files) == [Moved(0, "train/part-0"), Moved(1, ".")]
    there = unpacked(moved, lambda path: Path(f"/there/{path.folder}") / path.name)
    assert there == ({"whole": Plain(Named("a", [Path("/there/0/train/part-0"), Path("/there/1")]), 3)}, None)
    with pytest.raises(ValueError, match="elsewhere is in none of the folders"):
        packed([Path("/elsewhere")], [Path("/out")])


def test_what_stays_here_is_paired_with_what_comes_of_its_item() -> None:
    assert list(paired(HERE, len, ["ab", "c"], lambda text: [text] * 3)) == [("ab", 3), ("c", 3)]


def test_a_note_that_is_not_seen_is_refused(tmp_path: Path) -> None:
    with noted(tmp_path) as note:
        require_seen(note)
    assert list(tmp_path.iterdir()) == []
    with noted(tmp_path) as other:
        other.file.write_text("that of another run")
        with pytest.raises(ClusterError, match=r"does not see .+, where this run works: let all machines have that"):
            require_seen(other)


@dataclass
class Away:
    """A machine that has the run's store, and a home of its own."""

    workplace: SharedStore
    making: Making
    workers: int = 2

    def run(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            sent = pickle.dumps((self.workplace, function, self.workplace.packed(item)))
            workplace, called, packed_item = pickle.loads(sent)
            done = workplace.done(called, packed_item)
            self.making.add(done.files)
            yield done.answer.unwrapped()


def tokens(store: Store, cluster: Callable[[Making, Path, list[Artifact]], Cluster]) -> Artifact:
    """The tokens of some messages, from artifacts of the store to one of its own."""
    with store.write("split", key_of({"step": "split"}), {}) as folder:
        for name, rows in (("train", 3 * ROWS), ("test", 1)):
            texts = [f"message number {row}" for row in range(rows)]
            table = pa.table({"id": range(rows), "text": texts, "label": ["ham"] * rows}, schema=MESSAGES)
            with PartsWriter(folder / name, MESSAGES, labels=["ham", "spam"]) as writer:
                writer.write(table)
    with store.write("tokenizer", key_of({"step": "tokenizer"}), {}) as folder:
        gpt2_tokenizer().save(folder)
    split, tokenizer = (
        store.bound(store.manifest(name, key_of({"step": name})).artifact) for name in ("split", "tokenizer")
    )
    key = key_of({"step": "tokenize"})
    with store.writing("tokenize", key, {}) as making:
        scratch = store.scratch("tokenize", key)
        write_tokens(
            {name: Parts(split.file(name), MESSAGES) for name in ("train", "test")},
            making.folder,
            labels=["ham", "spam"],
            tokenizer=tokenizer.folder,
            max_length=None,
            context_length=64,
            scratch=scratch,
            cluster=cluster(making, scratch, [split, tokenizer]),
        )
    made = store.find("tokenize", key)
    assert made is not None
    return made


def test_a_worker_that_shares_only_the_bucket_makes_the_same_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.data.parts.ROWS_PER_PART", ROWS)
    alone = tokens(FolderStore(tmp_path / "alone"), lambda making, scratch, inputs: HERE)
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "other-machine"))

    def away(making: Making, scratch: Path, inputs: list[Artifact]) -> Cluster:
        assert making.elsewhere is not None
        workplace = SharedStore.of(making.elsewhere, making.folder, scratch, inputs)
        assert SECRET not in repr(workplace)
        return Away(workplace, making)

    with moto() as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        store = ObjectStore(f"s3://{BUCKET}/store", local=tmp_path / "here", cache_size=10**9)
        made = tokens(store, away)
        assert made == alone
        assert store.problems("tokenize", made.key) == []
        names = [f"{file.relative_to(made.folder)}" for file in sorted(made.folder.rglob("part-*"))]
        assert names == ["test/part-00000.arrow", *(f"train/part-0000{number}.arrow" for number in range(3))]
    other = tmp_path / "other-machine" / "store"
    assert list((other / PARTS).iterdir()) == []
    assert {file.suffix for file in (other / ".cache").rglob("part-*")} == {".parquet"}
