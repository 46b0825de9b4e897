"""Weights from a hub: huggingface_hub against a real server on this machine that speaks the hub's protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter
from safetensors.torch import load_file, save

from lib.data.source.hub import KNOWN_COMMITS, Repository, progress_bar
from lib.errors import ChecksumError, RecipeError, SourceError, StoreError, WeightsError
from lib.model.gpt2.gpt import GPT, new_gpt
from lib.model.gpt2.pretrained import load_pretrained
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.gpt2.weights import save_gpt
from lib.model.places import fetch_weights as fetch
from lib.model.places import model_config, weights_identity
from lib.model.weights.hub import KNOWN_SIZES, commit_of, fetch_files, fetch_weights
from tests.support.http_server import Reply
from tests.support.hub_server import TOKEN, HubServer, hub_for, name_endpoint, stored_at, xet_name

NAME = "somebody/tiny-gpt2"
SHAPE = GPTConfig(context_length=9, emb_dim=8, n_heads=2, n_layers=1, vocab_size=20)
PROJECT = Path(__file__).resolve().parents[4]


@pytest.fixture
def gpt() -> GPT:
    return new_gpt(SHAPE, seed=0)


@pytest.fixture
def files(gpt: GPT, tmp_path: Path) -> dict[str, bytes]:
    """What a repository of that GPT has; not all of it is wanted."""
    folder = tmp_path / "saved"
    folder.mkdir()
    save_gpt(gpt, folder)
    wanted = {file.name: file.read_bytes() for file in folder.iterdir()}
    return wanted | {"README.md": b"# GPT", "pytorch_model.bin": b"a pickle", "vocab.json": b"{}"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_for(monkeypatch, tmp_path) as server:
        yield server


def loaded(weights: str, revision: str | None, tmp_path: Path) -> GPT:
    """As the step does it, but for the commit that its key knows already."""
    place = fetch("from-weights", weights, revision, folder=tmp_path / "unused")
    return load_pretrained(place, model_config("from-weights", str(place)))


def test_a_repository_is_fetched_and_loaded(hub: HubServer, files: dict[str, bytes], gpt: GPT, tmp_path: Path) -> None:
    commit = hub.add(NAME, files)
    heard = []
    folder = fetch_weights(Repository(NAME), commit, progress=lambda *now: heard.append(now))
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    size = len(files["model.safetensors"])
    assert heard[-1] == (size, size, "bytes")
    again = loaded(NAME, None, tmp_path)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in gpt.state_dict().items())
    asked = {request.path.rpartition("/")[2] for request in hub.requests}
    assert asked == {"config.json", "model.safetensors"}
    assert not any("authorization" in request.headers for request in hub.requests + hub.storage.requests)


def test_what_is_in_the_cache_is_not_asked_for_again(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    commit = hub.add(NAME, files)
    loaded(NAME, commit, tmp_path)
    seen = len(hub.requests)
    loaded(NAME, commit, tmp_path)
    assert weights_identity(NAME, commit) == {"repository": NAME, "commit": commit}
    assert model_config("from-weights", NAME, commit).emb_dim == 8
    assert len(hub.requests) == seen


def test_a_branch_a_tag_and_a_commit_mean_different_weights(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    old = hub.add(NAME, files, revision="v1")
    new = hub.add(NAME, files | {"README.md": b"changed"})
    assert weights_identity(NAME) == weights_identity(NAME, "main") == {"repository": NAME, "commit": new}
    assert weights_identity(NAME, "v1") == {"repository": NAME, "commit": old}
    assert fetch("from-weights", NAME, "v1", folder=tmp_path).name == old


def test_small_files_are_looked_up_in_one_listing_once(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    wanted = ("vocab.json", "merges.txt", "spm.model", "chat_template.jinja")
    for name, private in ((NAME, False), ("somebody/private", True)):
        commit = hub.add(name, files | {"merges.txt": b"a b"}, private=private)
        folder = fetch_files(Repository(name), commit, wanted)
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", "merges.txt", "vocab.json"]
        listings = hub.seen(f"/api/models/{name}/revision/{commit}")
        assert [request.headers.get("authorization") for request in listings] == (
            [None, f"Bearer {TOKEN}"] if private else [None]
        )
        assert not any("spm.model" in request.path for request in hub.requests)
        seen = len(hub.requests)
        assert fetch_files(Repository(name), commit, wanted) == folder
        assert len(hub.requests) == seen
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch_files(Repository(name), commit, (*wanted, "tokenizer.model")) == folder  # what is here


def test_openais_models_are_pinned_and_need_no_hub() -> None:
    """Also not huggingface_hub, nor torch: a run whose steps are all cached stays light."""
    code = (
        "import sys; from lib.model.places import model_config, weights_identity\n"
        "print(weights_identity('openai-community/gpt2'), model_config('from-weights', 'openai-community/gpt2-xl'))\n"
        "assert not {'huggingface_hub', 'torch', 'httpx2'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True)
    assert KNOWN_COMMITS["openai-community/gpt2"] in done.stdout
    assert f"{SIZES['gpt2-xl']}" in done.stdout
    assert KNOWN_COMMITS.keys() == KNOWN_SIZES.keys()


def test_only_the_config_is_fetched_where_nothing_else_says_the_shape(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    assert model_config("gpt2-small", NAME) == SIZES["gpt2-small"]  # believed until the files are here
    assert not hub.requests
    assert model_config("from-weights", NAME).emb_dim == 8
    assert {request.path.rpartition("/")[2] for request in hub.requests} == {"config.json"}


def test_another_shape_is_refused_before_anything_large_is_fetched(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, files)
    with pytest.raises(RecipeError, match=r"model\.size is 'gpt2-small'.*'somebody/tiny-gpt2' have another shape"):
        fetch("gpt2-small", NAME, folder=tmp_path)
    assert not hub.storage.requests


def test_weights_in_several_files(
    hub: HubServer, files: dict[str, bytes], gpt: GPT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.safetensors"
    whole.write_bytes(files.pop("model.safetensors"))
    tensors = load_file(whole)
    half = len(tensors) // 2
    parts = {"a.safetensors": list(tensors)[:half], "b.safetensors": list(tensors)[half:]}
    for name, names in parts.items():
        files[name] = save({tensor: tensors[tensor] for tensor in names}, metadata={"format": "pt"})
    where = {tensor: name for name, names in parts.items() for tensor in names}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": where}).encode()
    commit = hub.add(NAME, files)
    assert torch.equal(
        *(model.get_parameter("blocks.0.mlp.projection.weight") for model in (loaded(NAME, commit, tmp_path), gpt))
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    loaded(NAME, commit, tmp_path)


def test_a_cut_connection_is_gone_on_with(hub: HubServer, files: dict[str, bytes], gpt: GPT, tmp_path: Path) -> None:
    body = files["model.safetensors"]
    commit = hub.add(NAME, files)
    hub.storage.serve(stored_at(body), Reply(body, cut_after=1000), Reply(body))
    again = loaded(NAME, commit, tmp_path)
    assert torch.equal(again.token_embedding.weight, gpt.token_embedding.weight)
    assert [request.headers.get("range") for request in hub.storage.requests] == [None, "bytes=1000-"]


def test_fewer_bytes_than_announced_are_worth_another_try(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    body = files["model.safetensors"]
    commit = hub.add(NAME, files)
    hub.storage.serve(stored_at(body), Reply(body[:-1]))
    with pytest.raises(SourceError, match=rf"{NAME} at {commit} .*not all of model\.safetensors came") as error:
        loaded(NAME, commit, tmp_path)
    assert error.value.temporary


def test_other_bytes_than_announced_are_refused(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    body = files["model.safetensors"]
    commit = hub.add(NAME, files)
    hub.storage.serve(stored_at(body), Reply(body[:-1] + b"?"))
    with pytest.raises(ChecksumError, match=r"changed or damaged.*remove that file"):
        loaded(NAME, commit, tmp_path)


def test_what_repositories_share_in_the_cache_is_checked_by_its_own_name(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    body = files["model.safetensors"]
    commit = hub.add(NAME, files)
    loaded(NAME, commit, tmp_path)
    blob = (fetch_weights(Repository(NAME), commit) / "model.safetensors").resolve()
    shared = tmp_path / xet_name(body)  # as huggingface_hub has it after a download by Xet, its own or another tool's
    blob.rename(shared)
    blob.symlink_to(shared)
    loaded(NAME, commit, tmp_path)
    shared.write_bytes(body[:-1] + b"?")
    with pytest.raises(ChecksumError, match=f"^{shared} in the hub's cache was changed"):
        loaded(NAME, commit, tmp_path)


def test_progress_is_that_of_one_file_with_xet_too() -> None:
    """Where HF_HUB_DISABLE_XET=0 asks for it: huggingface_hub's own reporter, without a transfer."""
    heard: list[tuple[int, int | None, str]] = []
    bar = progress_bar(lambda *now: heard.append(now))
    names = {"reconstruction_desc": "", "transfer_desc": "", "log_level": 0, "tqdm_class": bar}
    with XetDownloadProgressReporter(total=100, **names) as reporter:
        for written, sent in ((0, 20), (40, 50), (100, 60)):
            reporter.update_progress(
                SimpleNamespace(
                    total_bytes=100,
                    total_bytes_completed=written,
                    total_bytes_completion_rate=1.0,
                    total_transfer_bytes_completed=sent,
                    total_transfer_bytes_completion_rate=1.0,
                )
            )
    assert heard == [(40, 100, "bytes"), (100, 100, "bytes")]


def test_the_token_is_sent_to_the_hub_alone_and_only_if_it_asks(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    commit = hub.add(NAME, files)
    loaded(NAME, commit, tmp_path)
    assert not any("authorization" in request.headers for request in hub.requests)
    hidden = hub.add("somebody/private", files, private=True)
    loaded("somebody/private", None, tmp_path)
    sent = [request for request in hub.requests if "authorization" in request.headers]
    assert {request.path.split("/resolve/")[0] for request in sent} == {"/somebody/private"}
    assert not any("authorization" in request.headers for request in hub.storage.requests)
    assert hidden != commit


@pytest.mark.parametrize(
    ("repository", "token", "reason"),
    [
        ("nobody/nothing", None, r"no such repository.*no such folder here.*check model\.weights, or set HF_TOKEN"),
        ("nobody/nothing", TOKEN, "no such repository"),
        ("somebody/private", None, "no such repository, or only for those who may read it"),
        ("somebody/gated", None, "it is gated; accept its conditions on its page"),
        ("somebody/gated", TOKEN, "it is gated"),
        ("somebody/gated", "hf_wrong", "the token in HF_TOKEN is not valid"),
    ],
)
def test_a_repository_that_may_not_be_read(
    hub: HubServer,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    repository: str,
    token: str | None,
    reason: str,
) -> None:
    hub.add("somebody/private", files, private=True)
    hub.add("somebody/gated", files, gated=True)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SourceError, match=reason) as error:
        commit_of(Repository(repository))
    assert not error.value.temporary
    assert "\n" not in str(error.value)
    assert token is None or token not in str(error.value)


def test_a_revision_that_is_not_there(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    with pytest.raises(
        SourceError, match=rf"^{NAME} at v9 cannot be fetched from .*no such revision; check model\.rev"
    ):
        commit_of(Repository(NAME, "v9"))


def test_a_repository_of_something_else(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    commit = hub.add(NAME, {"config.json": files["config.json"]})
    with pytest.raises(WeightsError, match=r"has neither model\.safetensors nor model\.safetensors\.index\.json"):
        loaded(NAME, commit, tmp_path)
    with pytest.raises(SourceError, match=r"it has no config\.json; name a repository of a model of texts"):
        loaded(NAME, hub.add(NAME, {"README.md": b""}), tmp_path)


def test_a_pickle_is_refused_with_the_command_that_converts_it(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    del files["model.safetensors"]
    commit = hub.add(NAME, files)
    with pytest.raises(WeightsError, match="only as a pickle") as error:
        loaded(NAME, None, tmp_path)
    command = f'python -c \'from transformers import GPT2LMHeadModel; GPT2LMHeadModel.from_pretrained("{NAME}"'
    assert f'`{command}, revision="{commit}").save_pretrained("converted")\'`' in str(error.value)
    assert not hub.storage.requests


def test_a_hub_in_trouble_is_worth_another_try(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    hub.serve(f"/{NAME}/resolve/main/config.json", Reply(status=503))
    with pytest.raises(SourceError, match=r"it answered 503; set model\.revision to a commit") as error:
        commit_of(Repository(NAME))
    assert error.value.temporary


def test_no_network_says_to_pin_the_revision(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as closed:
        pass
    name_endpoint(monkeypatch, closed.endpoint)
    with pytest.raises(SourceError, match=r"the connection failed \(.*\); set model\.revision to a commit") as error:
        commit_of(Repository(NAME))
    assert error.value.temporary
    with pytest.raises(
        SourceError, match=r"the connection failed .*run again, or set model\.weights to a local folder"
    ):
        fetch_weights(Repository(NAME), "0" * 40)


def test_an_endpoint_that_is_no_address(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    name_endpoint(monkeypatch, f"http://{'a' * 64}.org")  # of which 63 may stand between two dots
    with pytest.raises(SourceError, match=r"which is no address \(.*\): correct HF_ENDPOINT") as error:
        commit_of(Repository(NAME))
    assert not error.value.temporary


def test_a_server_that_is_no_hub(hub: HubServer) -> None:
    hub.serve(f"/{NAME}/resolve/main/config.json", Reply(b"<html>Please log in</html>"))
    with pytest.raises(SourceError, match=r"not as a Hugging Face hub does.*check HF_ENDPOINT"):
        commit_of(Repository(NAME))


def test_offline_the_cache_answers(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(NAME, files)
    hub.add("somebody/else", files)
    loaded(NAME, None, tmp_path)
    seen = len(hub.requests)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert weights_identity(NAME) == {"repository": NAME, "commit": commit}
    loaded(NAME, None, tmp_path)
    with pytest.raises(SourceError, match=r"HF_HUB_OFFLINE is set: set model\.revision to the commit"):
        commit_of(Repository("somebody/else"))
    with pytest.raises(SourceError, match=r"config\.json is not in the hub's cache in .*HF_HUB_OFFLINE is set"):
        fetch_weights(Repository("somebody/else"), "0" * 40)
    assert len(hub.requests) == seen


def test_a_full_disk(
    hub: HubServer, files: dict[str, bytes], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(NAME, files | {"model.safetensors": os.urandom(2**21)})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", f"{small_disk}/cache")
    with pytest.raises(StoreError, match=r"No space left .* MiB free, and the download needs 2\.0 MiB"):
        fetch_weights(Repository(NAME), commit)


def test_a_cache_that_cannot_be_used(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", f"{tmp_path}/file")
    with pytest.raises(StoreError, match=r"cannot be used .*set HF_HOME to a folder"):
        fetch_weights(Repository(NAME), hub.add(NAME, files))


def test_the_environment_is_the_one_that_huggingface_hub_knows(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    """In processes of their own, because it is read when huggingface_hub is imported."""
    commit = hub.add("somebody/private", files, private=True)
    code = (
        "import sys; from pathlib import Path; from lib.model.places import fetch_weights\n"
        "print(fetch_weights('from-weights', 'somebody/private', folder=Path('unused')))\n"
    )
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": f"{tmp_path}/home", "HF_TOKEN": TOKEN}
    command = [sys.executable, "-c", code]
    for more in ({}, {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:1", "HF_TOKEN": ""}):
        done = subprocess.run(command, cwd=PROJECT, env=environment | more, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == f"{tmp_path}/home/hub/models--somebody--private/snapshots/{commit}"
    # Its telemetry would add torch's version to these headers, and ask for more than files.
    assert not any("torch" in request.headers["user-agent"] for request in hub.requests)
    assert all("/resolve/" in request.path for request in hub.requests)
