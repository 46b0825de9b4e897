"""What changes a code fingerprint, and what must not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.store.fingerprint import PROJECT, code_fingerprint

FILES = {
    "tasks/__init__.py": "",
    "tasks/work.py": "from lib.deep.middle import middle\n\n\ndef work():\n    return middle()\n",
    "lib/__init__.py": "",
    "lib/deep/__init__.py": "",
    "lib/deep/middle.py": (
        '"""A module."""\n\nimport json\n\n\ndef middle():\n    """Says one."""\n    # lazily\n'
        "    from ..bottom import bottom\n\n    return bottom(json)\n"
    ),
    "lib/bottom.py": "def bottom(x):\n    return 1\n",
    "lib/unrelated.py": "ANSWER = 42\n",
    "lib/typed.py": "class Hint: ...\n",
}
MODULES = ["lib", "lib.bottom", "lib.deep", "lib.deep.middle", "tasks.work"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def changed(project: Path) -> Callable[[str, str], list[str]]:
    """Rewrites a file and names the modules of tasks.work whose hash changed."""

    def change(name: str, text: str) -> list[str]:
        before = code_fingerprint("tasks.work", project=project)
        (project / name).write_text(text)
        after = code_fingerprint("tasks.work", project=project)
        return [module for module in sorted(before | after) if before.get(module) != after.get(module)]

    return change


def test_reaches_every_module_of_lib_through_lazy_and_relative_imports(project: Path) -> None:
    assert list(code_fingerprint("tasks.work", project=project)) == MODULES


def test_an_edited_function_far_below_changes_the_fingerprint(changed: Callable[[str, str], list[str]]) -> None:
    assert changed("lib/bottom.py", "def bottom(x):\n    return 2\n") == ["lib.bottom"]


def test_comments_docstrings_and_layout_change_nothing(changed: Callable[[str, str], list[str]]) -> None:
    assert changed("lib/bottom.py", '"""New."""\n\n\ndef bottom( x ):  # why\n    """New."""\n\n    return (1)\n') == []
    assert changed("lib/bottom.py", "def bottom(\n    x,\n):\n    '''Other words.'''\n    return 1") == []


def test_a_string_that_is_no_docstring_counts(changed: Callable[[str, str], list[str]]) -> None:
    assert changed("lib/bottom.py", 'def bottom(x):\n    y = "text"\n    return 1\n') == ["lib.bottom"]


def test_modules_that_are_not_reached_do_not_count(changed: Callable[[str, str], list[str]]) -> None:
    assert changed("lib/unrelated.py", "ANSWER = 43\n") == []


def test_a_newly_imported_module_joins(changed: Callable[[str, str], list[str]]) -> None:
    text = FILES["lib/bottom.py"].replace("return 1", "import lib.unrelated\n    return 1")
    assert changed("lib/bottom.py", text) == ["lib.bottom", "lib.unrelated"]


def test_imports_for_type_checkers_only_are_not_followed(changed: Callable[[str, str], list[str]]) -> None:
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.typed import Hint\n" + FILES["lib/bottom.py"]
    )
    assert changed("lib/bottom.py", text) == ["lib.bottom"]


def test_what_runs_instead_of_type_checking_is_followed(changed: Callable[[str, str], list[str]]) -> None:
    switch = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lib.typed\nelse:\n    import lib.unrelated\n"
    )
    assert changed("lib/bottom.py", switch + FILES["lib/bottom.py"]) == ["lib.bottom", "lib.unrelated"]


def test_a_package_s_own_code_counts(changed: Callable[[str, str], list[str]]) -> None:
    assert changed("lib/deep/__init__.py", "SWITCH = True\n") == ["lib.deep"]


def test_the_fingerprint_of_training_covers_the_model_without_importing_torch() -> None:
    code = (
        "import sys; from lib.store.fingerprint import code_fingerprint; step = 'tasks.steps.classify.finetune';"
        "found = code_fingerprint(step);"
        "assert 'torch' not in sys.modules and step not in sys.modules; print(*found)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert {"tasks.steps.classify.finetune", "lib.model.gpt2.gpt", "lib.model.classifier", "lib.training"} <= set(
        out.stdout.split()
    )


def test_no_import_in_lib_is_hidden_from_the_fingerprint() -> None:
    hidden = [
        file.relative_to(PROJECT).as_posix()
        for file in (PROJECT / "lib").rglob("*.py")
        if any(name in file.read_text() for name in ("importlib.import_module", "__import__", "resolve_name"))
    ]
    # A training's process imports the step that trains, whose fingerprint it compares with the run's.
    assert hidden == ["lib/training/distributed/job.py"]
