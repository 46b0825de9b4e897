"""The wheel: built, installed where no checkout is, and used there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from flows.__main__ import DOORS
from lib.recipes.reading import RECIPES

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("flows", "tasks", "lib", "recipes", "deploy")
FILES = ("pyproject.toml", "prefect.yaml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and what this one has but for the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(PROJECT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (PROJECT / name).exists():
            shutil.copy(PROJECT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *alone, "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run(build, check=True)
    shutil.rmtree(folder / "source")
    venv.create(folder / "environment", with_pip=False)
    programs = folder / "environment" / "bin"
    site = programs.parent / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A line in a .pth file adds a folder, but not what its own .pth files add: the checkout stays out.
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", str(programs / "python"), "install", *alone, str(wheel)], check=True)
    return programs


def call(program: Path, *arguments: str, folder: Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs it from another folder, in a home of its own, or the default one of a user whose folder that is."""
    named = ("FINETUNE_HOME", "PREFECT_HOME", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment |= {"HOME": str(folder), "COLUMNS": "200"} | ({"FINETUNE_HOME": str(home)} if home else {})
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_installed_code_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    places = (
        "import flows, tasks, lib, json; from tasks.environment import home, shipped; from flows.servers.deployments"
        " import DEPLOYMENTS, AUTOMATIONS; from lib.evaluation.classify.report.page import TEMPLATE, STYLE;"
        "from lib.recipes.reading import RECIPES as R; from pathlib import Path;"
        "print(json.dumps([flows.__file__, str(home()), *map(str, (DEPLOYMENTS, AUTOMATIONS, TEMPLATE, STYLE)),"
        " sorted(str(f.relative_to(R)) for f in R.rglob('*.yaml'))]))"
    )
    done = call(installed / "python", "-c", places, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    code, home, *files, recipes = json.loads(done.stdout)
    assert Path(code).is_relative_to(installed.parent)
    assert home == str(tmp_path / ".finetune")
    assert all(Path(file).is_relative_to(installed.parent) and Path(file).is_file() for file in files)
    assert Path(files[0]).read_bytes() == (PROJECT / "prefect.yaml").read_bytes()
    assert recipes == sorted(str(file.relative_to(RECIPES)) for file in RECIPES.rglob("*.yaml"))


def test_every_deployment_is_found_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "import yaml; from prefect.flows import load_flow_from_entrypoint; from tasks.environment import shipped;"
        "[load_flow_from_entrypoint(each['entrypoint'])"
        " for each in yaml.safe_load(shipped('prefect.yaml').read_text())['deployments']]"
    )
    done = call(installed / "python", "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(installed: Path, tmp_path: Path) -> None:
    done = call(installed / "finetune", "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in DOORS)
    assert list(tmp_path.iterdir()) == []


def test_the_quickstart_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = call(installed / "finetune", "classify", "--recipe", "quickstart", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["registered"]["version"] == "1"
    assert {step["state"] for step in result["steps"]} == {"ran"}
    home = tmp_path / ".finetune"
    assert done.stderr.startswith(f"finetune classify: recipe quickstart; everything lies in {home}\n")
    assert (home / "mlflow.db").is_file()
    asked = call(installed / "finetune", "predict", "--json", "WIN a free prize now", folder=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["label"] in ("ham", "spam")
