"""A registered model whose files were damaged: named, mended where the same bytes are elsewhere, and never used."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote_plus

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from safetensors.torch import load_file, save_file

import tasks.registry.files
from lib.errors import ServiceError, StoreError, WeightsError
from lib.files.jsonfile import load_json, save_json
from lib.files.listing import LISTING, SHA256_TAG, write_listing
from tasks.environment import home, store_folder
from tasks.record.mlflow_run import AwayError
from tasks.registry.files import is_damage, load_model, model_files
from tasks.registry.models import CLASSIFIER, Version
from tests.support.http_server import HttpServer, Reply
from tests.support.tracking import tracking_restored

pytestmark = pytest.mark.slow

VERSION = Version("e2e", "1")
MODEL = "artifacts/classifier"
LABELS, TENSORS = f"{MODEL}/labels.json", f"{MODEL}/model.safetensors"
TEXTS = ["You are a winner", "see you at lunch"]

Damage = Callable[[Path], object]


def swap(file: Path) -> None:
    save_json(load_json(file)[::-1], file)


def zero(file: Path) -> None:
    save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}, file)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def swap_and_list(file: Path) -> None:
    swap(file.parent / LABELS)
    write_listing(file.parent)


def empty(file: Path) -> None:
    file.write_bytes(b"")


MENDED: dict[str, tuple[str, Damage]] = {
    "swapped labels": (LABELS, swap),
    "labels as a folder": (LABELS, make_a_folder),
    "zeroed tensors": (TENSORS, zero),
    "a flipped bit": (TENSORS, flip),
    "no tokenizer": (f"{MODEL}/tokenizer.json", Path.unlink),
    "changed code": ("code/lib/inference/predictor.py", flip),
}
REFUSED: dict[str, tuple[str, Damage]] = {
    "an empty description": ("MLmodel", empty),
    "a flipped bit of it": ("MLmodel", flip),
    "another temperature": (f"{MODEL}/inference.json", flip),
    "an engine from elsewhere": (f"{MODEL}/model.onnx", Path.touch),
    "no list": (LISTING, Path.unlink),
    "a list of nothing": (LISTING, empty),
    "another list": (LISTING, swap_and_list),
}


@pytest.fixture
def root(published: MlflowClient) -> Path:
    """The folder of the champion."""
    return model_files(published, CLASSIFIER, VERSION).root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    }


def test_what_the_store_or_the_program_has_is_put_back(
    published: MlflowClient, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(root)
    for name, damage in MENDED.values():
        caplog.clear()
        damage(root / name)
        assert model_files(published, CLASSIFIER, VERSION).root == root
        assert f"mended from the store ({name})" in caplog.text
        assert contents(root) == before


def test_what_nobody_has_is_refused_by_name(published: MlflowClient, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "kept")
    for name, damage in REFUSED.values():
        damage(root / name)
        for use in (model_files, load_model):
            with pytest.raises(ServiceError) as refused:
                use(published, CLASSIFIER, VERSION)
            assert Path(name).name in str(refused.value)
            assert "the classifier models:/e2e/1 cannot be loaded" in str(refused.value)
            assert "\n" not in str(refused.value)
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "kept", root)
    assert load_model(published, CLASSIFIER, VERSION).predict(TEXTS)["label"].tolist()


def test_without_the_store_the_damage_is_named_and_mlflow_itself_refuses_the_model(
    published: MlflowClient, root: Path
) -> None:
    shutil.rmtree(store_folder())
    swap(root / LABELS)
    with pytest.raises(ServiceError, match=rf"{LABELS} does not have its checksum"):
        load_model(published, CLASSIFIER, VERSION)
    with tracking_restored():
        mlflow.set_tracking_uri(published.tracking_uri)
        for place in (str(root), VERSION.uri):
            with pytest.raises(WeightsError, match=rf"{LABELS} does not have its checksum"):
                mlflow.pyfunc.load_model(place)


@pytest.mark.parametrize(
    ("error", "says_so"),
    [
        (FileNotFoundError(), True),
        (IsADirectoryError(), True),
        (PermissionError(), True),
        (MlflowException("no such version", error_code=RESOURCE_DOES_NOT_EXIST), True),
        (MlflowException("API request to endpoint /x failed with error code 404", RESOURCE_DOES_NOT_EXIST), False),
        (MlflowException("out of order"), False),
        (ConnectionResetError(), False),
        (TimeoutError(), False),
        (OSError(errno.EMFILE, "Too many open files"), False),
    ],
)
def test_only_what_says_so_is_damage(error: Exception, says_so: bool) -> None:
    assert is_damage(error) is says_so


def test_a_version_from_before_there_were_checksums_is_loaded_with_a_warning(
    published: MlflowClient, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / LISTING).unlink()
    published.delete_model_version_tag(VERSION.name, VERSION.version, SHA256_TAG)
    assert model_files(published, CLASSIFIER, VERSION).root == root
    assert caplog.text.count("e2e version 1 was registered before versions had checksums") == 1


def test_a_damaged_copy_of_a_server_is_fetched_again(
    published: MlflowClient, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks.registry.files, "is_local_uri", lambda place: False)  # as if a server had it
    fetched = model_files(published, CLASSIFIER, VERSION).root
    assert fetched.is_relative_to(home() / "models")
    assert "damaged" not in caplog.text
    empty(fetched / "MLmodel")
    assert model_files(published, CLASSIFIER, VERSION).root == fetched
    assert "MLmodel has 0 bytes" in caplog.text
    whole = (root / TENSORS).read_bytes()
    flip(root / TENSORS)
    flip(fetched / TENSORS)
    with pytest.raises(ServiceError, match=r"model\.safetensors does not have its checksum"):
        model_files(published, CLASSIFIER, VERSION)
    (root / TENSORS).write_bytes(whole)

    def page_in_place_of_it(folder: Path) -> None:
        if (folder / TENSORS).is_file():
            (folder / TENSORS).write_bytes(b"<html>Sign in to this network</html>")

    monkeypatch.setattr(tasks.registry.files, "sync", page_in_place_of_it)  # as the files come
    with pytest.raises(AwayError, match=r"models:/e2e/1 cannot be fetched \(something that is not MLflow answers"):
        model_files(published, CLASSIFIER, VERSION)


class Sent:
    """Has a server send a version's files, as MLflow's does for artifacts that it serves."""

    ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

    def __init__(self, server: HttpServer, root: Path) -> None:
        self._server, self._root = server, root
        for place in [root, *root.rglob("*")]:
            name = f"e2e/{place.relative_to(root)}".removesuffix("/.")
            if place.is_file():
                server.serve(f"{self.ARTIFACTS}/{name}", Reply(place.read_bytes()))
            else:
                files = [{"path": each.name, "is_dir": each.is_dir()} for each in place.iterdir()]
                answer = Reply(json.dumps({"files": files}).encode())
                server.serve(f"{self.ARTIFACTS}?path={quote_plus(name)}", answer)

    def name_in(self, database: Path) -> None:
        """Has the registry say that the version's files are there."""
        with closing(sqlite3.connect(database)) as connection, connection:
            place = self._server.url(f"{self.ARTIFACTS}/e2e")
            connection.execute("UPDATE model_versions SET source = ?, storage_location = ?", [place, place])


def test_a_disk_that_is_full_while_a_server_sends_a_model_is_one_sentence_and_the_next_try_is_clean(
    published: MlflowClient, root: Path, small_disk: Path
) -> None:
    with HttpServer() as server:
        Sent(server, root).name_in(home() / "mlflow.db")
        (home() / "models").symlink_to(small_disk)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(2**20 - 2**16))
        with pytest.raises(StoreError, match=rf"^No space left to write into {home() / 'models' / 'e2e'} \("):
            model_files(published, CLASSIFIER, VERSION)
        assert [path.name for path in (small_disk / "e2e").iterdir()] == [".lock"]
        ballast.unlink()
        (home() / "models").unlink()
        fetched = model_files(published, CLASSIFIER, VERSION).root
        assert fetched.is_relative_to(home() / "models")
        sent = {name.removeprefix(str(root)): content for name, content in contents(root).items()}
        kept = {name.removeprefix(str(fetched)): content for name, content in contents(fetched).items()}
        assert sent.items() <= kept.items()  # MLflow adds a file
