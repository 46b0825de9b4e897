"""OpenAI's own files: reading what TensorFlow wrote, and fetching a release from real servers on this machine.

The checkpoint in assets/openai-tiny was written by TensorFlow itself; make.py beside it says how.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lib.errors import ChecksumError, RecipeError, SourceError, StoreError, WeightsError
from lib.model.gpt2.openai import ADDRESSES, FILES, RELEASES, Release, fetch_release, hugging_face_name, read_hparams
from lib.model.gpt2.pretrained import load_pretrained
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.gpt2.tensor_bundle import TensorBundle
from lib.model.gpt2.weights import load_gpt, save_gpt
from lib.model.places import fetch_weights, model_config, weights_identity
from lib.model.weights.folder import CONFIG
from lib.recipes.sections import OPENAI_SIZES, Model
from tests.support.http_server import HttpServer, Reply

TINY = Path(__file__).parent / "assets" / "openai-tiny"
SHAPE = GPTConfig(context_length=10, emb_dim=12, n_heads=3, n_layers=2, vocab_size=41)
DATA = "model.ckpt.data-00000-of-00001"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be damaged."""
    return Path(shutil.copytree(TINY, tmp_path / "checkpoint"))


# -- reading ----------------------------------------------------------------------------------------------------


def test_every_tensor_is_the_one_that_tensorflow_reads() -> None:
    bundle, expected = TensorBundle(TINY / "model.ckpt"), np.load(TINY / "expected.npz")
    assert list(bundle.entries) == expected.files
    assert len(expected.files) == 28
    for name in expected.files:
        tensor = bundle.read(name)
        assert tensor.dtype == np.float32
        assert np.array_equal(tensor, expected[name])


def test_a_checkpoint_becomes_a_gpt(tmp_path: Path) -> None:
    config = model_config("from-weights", f"{TINY}")
    assert config == SHAPE
    gpt, expected = load_pretrained(TINY, config), np.load(TINY / "expected.npz")
    for found, name in (
        (gpt.token_embedding.weight, "model/wte"),
        (gpt.position_embedding.weight, "model/wpe"),
        (gpt.final_norm.weight, "model/ln_f/g"),
        (gpt.final_norm.bias, "model/ln_f/b"),
        (gpt.get_parameter("blocks.1.attention_norm.weight"), "model/h1/ln_1/g"),
        (gpt.get_parameter("blocks.1.attention_norm.bias"), "model/h1/ln_1/b"),
        (gpt.get_parameter("blocks.1.attention.qkv.weight").t()[None], "model/h1/attn/c_attn/w"),
        (gpt.get_parameter("blocks.1.attention.projection.weight").t()[None], "model/h1/attn/c_proj/w"),
        (gpt.get_parameter("blocks.1.mlp_norm.weight"), "model/h1/ln_2/g"),
        (gpt.get_parameter("blocks.1.mlp.expansion.weight").t()[None], "model/h1/mlp/c_fc/w"),
        (gpt.get_parameter("blocks.1.mlp.projection.weight").t()[None], "model/h1/mlp/c_proj/w"),
        (gpt.get_parameter("blocks.1.mlp.projection.bias"), "model/h1/mlp/c_proj/b"),
    ):
        assert np.array_equal(found.detach().numpy(), expected[name])
    save_gpt(gpt, tmp_path)
    again = load_gpt(tmp_path)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in gpt.state_dict().items())


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("model/wte", "wte.weight"),
        ("model/h11/attn/c_attn/w", "h.11.attn.c_attn.weight"),
        ("model/h0/ln_1/g", "h.0.ln_1.weight"),
        ("model/ln_f/b", "ln_f.bias"),
        ("global_step", "global_step"),
        ("model/h0/attn/c_attn/w/Adam", "model/h0/attn/c_attn/w/Adam"),
        ("model/h0/wte/extra", "model/h0/wte/extra"),
    ],
)
def test_names_are_translated_or_left_alone(variable: str, name: str) -> None:
    assert hugging_face_name(variable) == name


def test_everything_that_does_not_fit_is_listed(folder: Path) -> None:
    hparams = json.loads((folder / "hparams.json").read_text())
    (folder / "hparams.json").write_text(json.dumps(hparams | {"n_layer": 1, "n_ctx": 11}))
    with pytest.raises(WeightsError, match=r"does not fit the hparams\.json beside it: unexpected model/h1/") as error:
        load_pretrained(folder, read_hparams(folder))
    assert "model/wpe has the shape [10, 12], not [11, 12]" in str(error.value)
    assert str(error.value).count("model/h1/") == 12


@pytest.mark.parametrize("file", ["hparams.json", "model.ckpt.index", DATA])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(WeightsError, match=file):
        weights_identity(f"{folder}")
    if file != "hparams.json":
        with pytest.raises(WeightsError, match=f"{file} does not exist"):
            load_pretrained(folder, SHAPE)


@pytest.mark.parametrize("hparams", ["[]", "{}", '{"n_ctx": "10"}', '{"n_vocab": 4, "n_ctx": 4, "n_embd": 4}'])
def test_hparams_that_say_no_shape(folder: Path, hparams: str) -> None:
    (folder / "hparams.json").write_text(hparams)
    with pytest.raises(WeightsError, match=r"hparams\.json"):
        read_hparams(folder)


def test_one_changed_byte_of_a_tensor_is_noticed(folder: Path) -> None:
    data = bytearray((folder / DATA).read_bytes())
    data[5000] ^= 1
    (folder / DATA).write_bytes(data)
    with pytest.raises(WeightsError, match=rf"{DATA} is damaged: the bytes of model/h0/\S+ do not have their checksum"):
        load_pretrained(folder, SHAPE)
    (folder / DATA).write_bytes((TINY / DATA).read_bytes()[:-4])
    with pytest.raises(WeightsError, match="do not have their checksum"):
        load_pretrained(folder, SHAPE)


def test_no_damage_of_the_index_goes_unnoticed(folder: Path) -> None:
    """One byte changed, or a length cut off, at every third place: one sentence, or else the same contents."""
    index, whole = folder / "model.ckpt.index", (TINY / "model.ckpt.index").read_bytes()
    entries = TensorBundle(TINY / "model.ckpt").entries
    sentences = []
    for place in range(0, len(whole), 3):
        for damaged in (whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :], whole[:place]):
            index.write_bytes(damaged)
            try:
                assert TensorBundle(folder / "model.ckpt").entries == entries
            except WeightsError as error:
                sentences.append(str(error))
    assert all(sentence.startswith(f"{index} is damaged") for sentence in sentences)
    assert len(sentences) > 1.9 * len(whole) / 3  # the rest is padding, and the empty block about blocks


def test_a_compressed_table_is_refused(folder: Path) -> None:
    """With its checksum right, as TensorFlow would have written it if it compressed."""
    index = folder / "model.ckpt.index"
    data = bytearray(index.read_bytes())
    footer = data[-48:]  # begins with where the block about blocks is, which follows the entries and their trailer
    end = (footer[0] & 0x7F) + (footer[1] << 7) - 5
    data[end] = 1
    checksum = google_crc32c.value(bytes(data[: end + 1]))
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    data[end + 1 : end + 5] = masked.to_bytes(4, "little")
    index.write_bytes(data)
    with pytest.raises(WeightsError, match="compressed"):
        TensorBundle(folder / "model.ckpt")


def test_the_key_of_a_folder_is_its_contents(folder: Path) -> None:
    before = weights_identity(f"{folder}")
    assert before.keys() == {"hparams.json", "model.ckpt.index", DATA}
    (folder / "checkpoint").unlink()  # says nothing about the weights
    assert weights_identity(f"{folder}") == before == weights_identity(f"{TINY}")


def test_a_folder_with_both_layouts_is_read_as_hugging_faces(folder: Path) -> None:
    (folder / CONFIG).write_text("{}")
    with pytest.raises(WeightsError, match=r"config\.json"):
        model_config("from-weights", f"{folder}")


# -- fetching ---------------------------------------------------------------------------------------------------


@pytest.fixture
def servers() -> Iterator[tuple[HttpServer, HttpServer]]:
    with HttpServer() as first, HttpServer() as second:
        yield first, second


@pytest.fixture
def release(servers: tuple[HttpServer, HttpServer]) -> Release:
    """The tiny checkpoint at two addresses, with the two files that the asset lacks, its checksums known."""
    files = {name: b"another file" if not (TINY / name).exists() else (TINY / name).read_bytes() for name in FILES}
    for server in servers:
        for name, body in files.items():
            server.serve(f"/models/tiny/{name}", Reply(body, etag='"1"'))
    pinned = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    return Release("tiny", "tiny", addresses=tuple(server.url("/models") for server in servers), sha256=pinned)


def test_the_seven_files_are_fetched_once(
    release: Release, servers: tuple[HttpServer, HttpServer], tmp_path: Path
) -> None:
    heard = []
    for _ in range(2):
        fetch_release(release, tmp_path / "tiny", progress=lambda *now: heard.append(now))
    assert sorted(file.name for file in (tmp_path / "tiny").iterdir()) == sorted(FILES)
    assert sorted(request.path for request in servers[0].requests) == sorted(f"/models/tiny/{name}" for name in FILES)
    assert not servers[1].requests
    assert (17616, 17616, "bytes") in heard
    assert load_pretrained(tmp_path / "tiny", SHAPE).config == SHAPE


def test_the_second_address_stands_in_for_the_first(
    release: Release, servers: tuple[HttpServer, HttpServer], tmp_path: Path
) -> None:
    servers[0].serve(f"/models/tiny/{DATA}", Reply(status=404))
    warnings: list[str] = []
    fetch_release(release, tmp_path / "tiny", warn=warnings.append)
    assert warnings == [f"{servers[0].url('/models/tiny')}/{DATA} answered 404 Not Found; trying the next address"]
    assert load_pretrained(tmp_path / "tiny", SHAPE).config == SHAPE


def test_a_cut_connection_is_gone_on_with_by_the_next_try(
    release: Release, servers: tuple[HttpServer, HttpServer], tmp_path: Path
) -> None:
    alone = replace(release, addresses=release.addresses[:1])
    body = (TINY / DATA).read_bytes()
    servers[0].serve(f"/models/tiny/{DATA}", Reply(body, etag='"1"', cut_after=1000), Reply(body, etag='"1"'))
    with pytest.raises(
        SourceError, match=r"OpenAI's tiny cannot be fetched: .* cut the connection after 1,000"
    ) as error:
        fetch_release(alone, tmp_path / "tiny")
    assert error.value.temporary
    fetch_release(alone, tmp_path / "tiny")
    asked = [request.headers.get("range") for request in servers[0].requests if request.path.endswith(DATA)]
    assert asked == [None, "bytes=1000-"]
    assert (tmp_path / "tiny" / DATA).read_bytes() == body
    assert sorted(file.name for file in (tmp_path / "tiny").iterdir()) == sorted(FILES)


def test_no_address_has_it(release: Release, servers: tuple[HttpServer, HttpServer], tmp_path: Path) -> None:
    for server in servers:
        server.serve("/models/tiny/hparams.json", Reply(status=403))
    with pytest.raises(
        SourceError, match=r"403 .*, and http.* 403 .*by hand into a folder and set model\.weights"
    ) as error:
        fetch_release(release, tmp_path / "tiny")
    assert not error.value.temporary


def test_bytes_that_are_not_the_published_ones_are_refused(
    release: Release, servers: tuple[HttpServer, HttpServer], tmp_path: Path
) -> None:
    servers[0].serve(f"/models/tiny/{DATA}", Reply(b"something else"))
    with pytest.raises(ChecksumError, match=rf"{DATA} does not have the sha256 that others have published"):
        fetch_release(release, tmp_path / "tiny")
    assert not (tmp_path / "tiny" / DATA).exists()


def test_without_a_published_checksum_the_servers_own_counts(
    release: Release, servers: tuple[HttpServer, HttpServer], tmp_path: Path
) -> None:
    unpinned = replace(release, sha256={})
    body = (TINY / DATA).read_bytes()
    told = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    servers[0].serve(f"/models/tiny/{DATA}", Reply(body[:-1] + b"?", headers=told))
    with pytest.raises(ChecksumError, match="the md5 that its server announces"):
        fetch_release(unpinned, tmp_path / "tiny")
    servers[0].serve(f"/models/tiny/{DATA}", Reply(body, headers=told))
    fetch_release(unpinned, tmp_path / "tiny")


def test_a_file_that_was_changed_is_fetched_again_and_said(release: Release, tmp_path: Path) -> None:
    fetch_release(release, tmp_path / "tiny")
    (tmp_path / "tiny" / DATA).write_bytes(b"overwritten")
    warnings: list[str] = []
    fetch_release(release, tmp_path / "tiny", warn=warnings.append)
    assert len(warnings) == 1
    assert f"{DATA} is not the file that OpenAI published" in warnings[0]
    assert (tmp_path / "tiny" / DATA).read_bytes() == (TINY / DATA).read_bytes()


def test_a_full_disk(release: Release, servers: tuple[HttpServer, HttpServer], small_disk: Path) -> None:
    servers[0].serve(f"/models/tiny/{DATA}", Reply(bytes(2**21)))
    with pytest.raises(StoreError, match="No space left"):
        fetch_release(release, small_disk / "tiny")


# -- the four releases ------------------------------------------------------------------------------------------


def test_the_recipe_knows_the_same_releases() -> None:
    assert {f"openai:{release.name}": release.size for release in RELEASES.values()} == OPENAI_SIZES
    assert all(release.addresses == ADDRESSES for release in RELEASES.values())
    for release in RELEASES.values():
        weights = f"openai:{release.name}"
        assert model_config("from-weights", weights) == model_config(release.size, weights) == SIZES[release.size]
        with pytest.raises(RecipeError, match="have another shape"):
            model_config("tiny", weights)
        with pytest.raises(RecipeError, match="have another shape"):
            fetch_weights("tiny", weights, folder=TINY / "never made")


def test_what_is_pinned_of_each_release() -> None:
    assert RELEASES["124M"].sha256.keys() == set(FILES)
    # TensorFlow writes this file the same for every checkpoint of that name.
    assert RELEASES["124M"].sha256["checkpoint"] == hashlib.sha256((TINY / "checkpoint").read_bytes()).hexdigest()
    assert weights_identity("openai:124M").keys() == weights_identity(f"{TINY}").keys()  # shared with a local copy
    assert weights_identity("openai:355M") == {"openai": "355M"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": "openai:117M"}, "OpenAI's are openai:124M, openai:355M, openai:774M, openai:1558M"),
        ({"weights": "openai:355M", "size": "gpt2-small"}, "has the shape of 'gpt2-medium'"),
        (
            {"weights": "openai:124M", "size": "gpt2-small", "revision": "main"},
            "is no repository on a hub: leave it out",
        ),
        ({"weights": "scratch", "revision": "main"}, "is no repository on a hub"),
    ],
)
def test_recipes_that_contradict_themselves(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Model.model_validate(fields)
