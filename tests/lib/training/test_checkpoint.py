import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.errors import StoreError
from lib.training.checkpoint import (
    Checkpoint,
    generator_states,
    read_checkpoint,
    restore_generators,
    write_checkpoint,
)


def save(folder: Path, step: int, fingerprint: str = "same") -> None:
    write_checkpoint(
        folder, Checkpoint({"step": step}, {"weight": torch.full((3,), step)}), number=step, fingerprint=fingerprint
    )


def load(folder: Path, fingerprint: str = "same") -> tuple[Checkpoint | None, list[str]]:
    warnings: list[str] = []
    return read_checkpoint(folder, fingerprint=fingerprint, warn=warnings.append), warnings


def test_the_latest_checkpoint_comes_back_and_earlier_ones_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "scratch"
    save(folder, 5)
    save(folder, 10)
    checkpoint, warnings = load(folder)
    assert checkpoint is not None
    assert checkpoint.state == {"step": 10}
    assert checkpoint.tensors["weight"].tolist() == [10, 10, 10]
    assert warnings == []
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint-00000010.safetensors", "checkpoint.json"]


def test_no_checkpoint_is_none_without_a_warning(tmp_path: Path) -> None:
    assert load(tmp_path / "nothing") == (None, [])


def test_a_checkpoint_of_something_else_is_ignored_with_a_warning(tmp_path: Path) -> None:
    save(tmp_path, 5)
    checkpoint, [warning] = load(tmp_path, "other")
    assert checkpoint is None
    assert "other data, weights or settings" in warning


def test_a_kill_between_the_two_files_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    before = (tmp_path / "checkpoint.json").read_bytes()
    kept = (tmp_path / "checkpoint-00000005.safetensors").read_bytes()
    save(tmp_path, 10)
    (tmp_path / "checkpoint.json").write_bytes(before)
    (tmp_path / "checkpoint-00000005.safetensors").write_bytes(kept)
    checkpoint, warnings = load(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state == {"step": 5}
    assert warnings == []


def flip_a_bit(folder: Path) -> None:
    file = folder / "checkpoint-00000005.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def change(name: str, value: object) -> Callable[[Path], object]:
    """Returns what changes one field of the state's file and leaves it readable."""

    def damage(folder: Path) -> None:
        file = folder / "checkpoint.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))

    return damage


def make_a_folder(folder: Path) -> None:
    (folder / "checkpoint.json").unlink()
    (folder / "checkpoint.json").mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        change("state", {"step": 6}),
        change("tensors", "checkpoint-00000004.safetensors"),
        change("more", 1),
        make_a_folder,
        lambda folder: (folder / "checkpoint.json").write_text("{"),
        lambda folder: (folder / "checkpoint.json").write_text("[]"),
        lambda folder: (folder / "checkpoint.json").write_bytes(b"\xff"),
        lambda folder: (folder / "checkpoint.json").write_text(json.dumps({"fingerprint": "same"})),
        lambda folder: (folder / "checkpoint-00000005.safetensors").unlink(),
    ],
)
def test_a_damaged_checkpoint_is_ignored_with_a_warning(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    save(tmp_path, 5)
    damage(tmp_path)
    checkpoint, [warning] = load(tmp_path)
    assert checkpoint is None
    assert str(tmp_path) in warning
    save(tmp_path, 10)
    again, _ = load(tmp_path)
    assert again is not None
    assert again.state == {"step": 10}


def test_a_full_disk_is_said_and_the_previous_checkpoint_stays(small_disk: Path) -> None:
    save(small_disk, 5)
    large = Checkpoint({"step": 10}, {"weight": torch.zeros(10**6)})
    with pytest.raises(StoreError, match="No space left"):
        write_checkpoint(small_disk, large, number=10, fingerprint="same")
    checkpoint, warnings = load(small_disk)
    assert checkpoint is not None
    assert checkpoint.state == {"step": 5}
    assert warnings == []


def test_generators_go_on_where_they_were() -> None:
    device = torch.device("cpu")
    torch.manual_seed(3)
    states = generator_states(device)
    drawn = torch.rand(4)
    restore_generators(states, device)
    assert torch.equal(torch.rand(4), drawn)
