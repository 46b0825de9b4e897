import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib.errors import MessagesError, StoreError, WeightsError
from lib.model.features import file as module
from lib.model.features.file import Features, write_features
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.text.batching import RUN_TOKENS

SEQUENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [5, 6], [7, 7, 7, 7]]
IDS = [40, 41, 7, 8, 9]


def backbone(**fields: Any) -> PooledGPT:
    gpt = new_gpt(GPTConfig(context_length=16, emb_dim=32, n_heads=2, n_layers=3, **fields), seed=1)
    return PooledGPT(gpt, pooling="last_token")


def interrupted(folder: Path, network: PooledGPT, *, after: int) -> None:
    """Computes `after` batches, and is killed."""
    seen: list[int] = []

    def killed(done: int, total: int | None, unit: str) -> None:
        seen.append(done)
        if len(seen) == after:
            raise KeyboardInterrupt

    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        written(folder, network, progress=killed)


def written(folder: Path, network: PooledGPT, *, blocks: int = 2, dtype: str = "float32", **more: Any) -> Path:
    file = folder / "train.safetensors"
    write_features(file, network, SEQUENCES, IDS, blocks=blocks, dtype=dtype, scratch=folder / "scratch", **more)
    return file


@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("blocks", [0, 2, 3])
def test_features_are_what_enters_the_next_block(tmp_path: Path, blocks: int, causal_mask: bool) -> None:
    network = backbone(causal_mask=causal_mask)
    gpt = network.gpt
    features = Features(written(tmp_path, network, blocks=blocks), IDS)
    assert len(features) == len(SEQUENCES)
    assert features.blocks == blocks
    for tokens, found in zip(SEQUENCES, features, strict=True):
        x = gpt.embed(torch.tensor([tokens]))
        for block in gpt.blocks[:blocks]:
            x = block(x)
        torch.testing.assert_close(found, x[0].detach(), atol=1e-6, rtol=1e-5)


def test_a_file_is_plain_safetensors(tmp_path: Path) -> None:
    tensors = load_file(written(tmp_path, backbone()))
    assert {name: (t.dtype, list(t.shape)) for name, t in tensors.items()} == {
        "features": (torch.float32, [15, 32]),
        "offsets": (torch.int64, [6]),
        "ids": (torch.int64, [5]),
    }
    assert tensors["offsets"].tolist() == [0, 3, 4, 9, 11, 15]
    assert tensors["ids"].tolist() == IDS


def test_bfloat16_takes_half_the_room(tmp_path: Path) -> None:
    gpt = backbone()
    exact = Features(written(tmp_path, gpt), IDS).flat.clone()
    rough = Features(written(tmp_path, gpt, dtype="bfloat16"), IDS).flat
    assert rough.dtype == torch.bfloat16
    np.testing.assert_allclose(rough.float(), exact, atol=2e-2 * float(exact.abs().max()))


def test_an_interrupted_computation_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUN_TOKENS, "cpu", 5)
    monkeypatch.setattr(module, "NOTE_EVERY", 2)
    gpt = backbone()
    whole = written(tmp_path, gpt).read_bytes()
    interrupted(tmp_path / "again", gpt, after=3)
    assert json.loads((tmp_path / "again" / "scratch" / "train.safetensors.json").read_text())["batches"] == 2
    later: list[tuple[int, int | None, str]] = []
    file = written(tmp_path / "again", gpt, progress=lambda *step: later.append(step))
    assert file.read_bytes() == whole
    assert later[0] == (12, 15, "tokens")  # after 5 + 4 tokens; the third batch is the first to be computed again
    assert list((tmp_path / "again" / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("batch_tokens", "fields"), [(20, {}), (5, {"dtype": "bfloat16"}), (5, {"blocks": 1}), (4, {"blocks": 3})]
)
def test_what_another_computation_left_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_tokens: int, fields: dict[str, Any]
) -> None:
    monkeypatch.setitem(RUN_TOKENS, "cpu", 5)
    monkeypatch.setattr(module, "NOTE_EVERY", 1)
    interrupted(tmp_path / "again", backbone(), after=3)
    monkeypatch.setitem(RUN_TOKENS, "cpu", batch_tokens)  # as on a GPU
    whole = written(tmp_path, backbone(), **fields).read_bytes()
    assert written(tmp_path / "again", backbone(), **fields).read_bytes() == whole


@pytest.mark.parametrize("damaged", ["", "[1]", "\x00\x00", '{"header": 1}', '{"batches": null}'])
def test_with_a_damaged_note_the_computation_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    monkeypatch.setitem(RUN_TOKENS, "cpu", 5)
    monkeypatch.setattr(module, "NOTE_EVERY", 1)
    gpt = backbone()
    whole = written(tmp_path, gpt).read_bytes()
    interrupted(tmp_path / "again", gpt, after=3)
    (tmp_path / "again" / "scratch" / "train.safetensors.json").write_text(damaged)
    assert written(tmp_path / "again", gpt).read_bytes() == whole


def test_a_file_system_that_reserves_no_room_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path, backbone()).read_bytes()

    def refuse(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert written(tmp_path, backbone()).read_bytes() == whole
    monkeypatch.delattr(os, "posix_fallocate")  # macOS
    assert written(tmp_path, backbone()).read_bytes() == whole


def test_a_write_that_the_system_cuts_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path, backbone()).read_bytes()
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, content, at: pwrite(descriptor, content[:100], at))
    assert written(tmp_path, backbone()).read_bytes() == whole


def test_a_split_may_have_no_messages(tmp_path: Path) -> None:
    write_features(tmp_path / "f", backbone(), [], [], blocks=2, dtype="float32", scratch=tmp_path / "s")
    assert list(Features(tmp_path / "f", [])) == []


def test_features_are_taken_by_position_from_both_ends(tmp_path: Path) -> None:
    features = Features(written(tmp_path, backbone()), IDS)
    assert torch.equal(features[-1], features[4])
    assert [len(each) for each in features[1:4]] == [1, 5, 2]
    with pytest.raises(IndexError):
        features[5]


def test_refuses_the_features_of_other_messages(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="features of other messages: remove it"):
        Features(written(tmp_path, backbone()), IDS[::-1])


def test_a_message_without_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match="no tokens"):
        write_features(tmp_path / "f", backbone(), [[1], []], [0, 1], blocks=1, dtype="float32", scratch=tmp_path / "s")


def test_a_full_disk_is_told_before_anything_is_computed(small_disk: Path) -> None:
    progress: list[int] = []
    with pytest.raises(StoreError, match="full"):
        write_features(
            small_disk / "f",
            backbone(),
            [[1, 2, 3, 4] * 4] * 5000,
            list(range(5000)),
            blocks=2,
            dtype="float32",
            scratch=small_disk / "s",
            progress=lambda *step: progress.append(step[0]),
        )
    assert progress == []
    assert not (small_disk / "f").exists()


def test_features_are_padded_in_one_copy(tmp_path: Path) -> None:
    features = Features(written(tmp_path, backbone()), IDS)
    rows = [1, 0, 1]
    for width in (max(len(features[row]) for row in rows) + 3, 2):
        batch, lengths = features.padded(rows, width)
        assert batch.shape[:2] == (3, width)
        assert lengths.tolist() == [min(len(features[row]), width) for row in rows]
        for place, row in enumerate(rows):
            assert torch.equal(batch[place, : lengths[place]], features[row][:width])


def test_parts_are_one_sequence(tmp_path: Path) -> None:
    network = backbone()
    whole = Features(written(tmp_path / "whole", network), IDS)
    some = {"blocks": 2, "dtype": "float32", "scratch": tmp_path / "scratch"}
    (tmp_path / "train").mkdir()
    for number, rows in enumerate((slice(0, 2), slice(2, 2), slice(2, 5))):
        file = tmp_path / "train" / f"part-{number:05}.safetensors"
        write_features(file, network, SEQUENCES[rows], IDS[rows], **some)  # type: ignore[arg-type]
    parted = Features(tmp_path / "train", IDS)
    assert parted.offsets.tolist() == whole.offsets.tolist()
    for found, expected in zip(parted, whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)  # of a batch with other rows
    torch.testing.assert_close(parted.flat, whole.flat, atol=1e-6, rtol=1e-5)
    with pytest.raises(WeightsError, match="features of other messages"):
        Features(tmp_path / "train", IDS[1:])
