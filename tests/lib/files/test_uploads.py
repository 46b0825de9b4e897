"""Files that were sent and are not there, or not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.files.uploads import missing_upload


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ({"": {"figures/a": 3}, "figures/below": {"figures/below/empty": None}}, "figures/a"),
        ({"figures": {"figures/a": 3}, "figures/below": {"figures/below/empty": None}}, None),
        ({"figures": {"figures/a": 2}, "figures/below": {"figures/below/empty": 0}}, "figures/a"),
        ({"figures": {"figures/a": 3}}, "figures/below/empty"),
    ],
)
def test_a_file_is_there_in_its_folder_with_its_size(
    tmp_path: Path, there: dict[str, dict[str, int | None]], missing: str | None
) -> None:
    (tmp_path / "a").write_text("abc")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "empty").touch()
    assert missing_upload(tmp_path, "figures", lambda place: there.get(place, {})) == missing


def test_a_single_file_may_lie_in_the_topmost_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    assert missing_upload(tmp_path / "a", "", {"": {"a": 3, "b": 1}}.__getitem__) is None
    assert missing_upload(tmp_path / "a", "", {"": {"b": 3}}.__getitem__) == "a"
