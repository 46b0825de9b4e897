"""The architecture page beside the code that it describes."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDER = re.compile(r"^    (?P<indent> *)(?P<name>[a-z_0-9]+)/ ", re.MULTILINE)


def listed_folders() -> set[str]:
    """The folders of the page's tree, by their paths."""
    tree = PAGE[PAGE.index("## The house") : PAGE.index("A few values carry")]
    found, above = set(), [""] * 9
    for match in FOLDER.finditer(tree):
        depth = len(match["indent"]) // 2
        above[depth] = match["name"]
        found.add("/".join(above[: depth + 1]))
    return found


def test_the_tree_lists_every_folder_of_the_three_layers() -> None:
    there = {
        file.parent.relative_to(PROJECT).as_posix()
        for layer in ("flows", "tasks", "lib")
        for file in (PROJECT / layer).rglob("__init__.py")
    }
    assert {folder for folder in listed_folders() if folder.split("/")[0] in ("flows", "tasks", "lib")} == there


@pytest.mark.parametrize("station", re.findall(r"^ {4,6}((?:flows|tasks|lib)[\w.]+:\w+) ", PAGE, re.MULTILINE))
def test_every_station_of_a_walk_exists(station: str) -> None:
    assert pkgutil.resolve_name(station)


def test_the_walks_are_short() -> None:
    walks = re.findall(r"(?:^ {4,6}[\w.]+:\w+ .*\n)+", PAGE, re.MULTILINE)
    assert [walk.count("\n") for walk in walks] == [9, 8]
