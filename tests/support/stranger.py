"""A logged model as strangers use it: registered in an MLflow of its own, and loaded without the project."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from tests.support.tracking import tracking_restored

# Loads the champion as a stranger would, and tells what it saw. Whatever opens a connection fails.
SCRIPT = """
import json, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise PermissionError(f"{event} {arguments}")

sys.addaudithook(refuse)
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
import mlflow
model = mlflow.pyfunc.load_model("models:/stranger@champion")
table = model.predict(json.loads(sys.argv[1]))
import lib
served = sys.modules[type(model.unwrap_python_model()).__module__].__file__
imported = [name for name in ("peft", "tokenizers", "transformers") if name in sys.modules]
answer = {"columns": list(table.columns), "rows": table.values.tolist(), "imported": imported}
print(json.dumps({"lib": lib.__file__, "served": served, **answer}))
"""


@dataclass
class Logged:
    """A model that was logged, registered as `stranger` and made champion in a store of its own."""

    model: LoggedModel
    folder: Path
    environment: dict[str, str]
    elsewhere: Path
    client: MlflowClient
    run_id: str

    def ask(self, questions: list[Any]) -> dict[str, Any]:
        """What a fresh process elsewhere gets: `columns` and `rows`, from the files `lib` and `served`; and what it has
        `imported` of the packages that not every model needs."""
        done = subprocess.run(
            [sys.executable, "-P", "-c", SCRIPT, json.dumps(questions)],
            cwd=self.elsewhere,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert list(self.elsewhere.iterdir()) == []
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    def files(self) -> set[str]:
        """The model's files but for its code."""
        return {file for file in self._files() if not file.startswith("code/")}

    def code(self) -> set[str]:
        """The files of `lib` that the model holds."""
        return {file.removeprefix("code/lib/") for file in self._files() if file.startswith("code/")}

    def _files(self) -> set[str]:
        return {str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file()}

    def required(self) -> dict[str, str]:
        """The packages that the model's requirements name, and their versions."""
        lines = (self.folder / "requirements.txt").read_text(encoding="utf-8").split()
        return dict(line.split("==") for line in lines)

    def imported(self) -> set[str]:
        """The packages that the model's Python files import."""
        names = set()
        for file in self.folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module.partition(".")[0])
        return names - set(sys.stdlib_module_names) - {"lib"}


@contextmanager
def logged_by(log: Callable[..., LoggedModel], folder: Path, place: Path, database: Path) -> Iterator[Logged]:
    """What `log` makes of a model's folder; everything lies below `place`. `database`: one of MLflow's without runs."""
    shutil.copyfile(database, place / "mlflow.db")
    with tracking_restored():
        yield _logged(log, folder, place)


def _logged(log: Callable[..., LoggedModel], folder: Path, place: Path) -> Logged:
    uri = f"sqlite:///{place / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("serving", artifact_location=str(place / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    client.log_param(run_id, "training.epochs", 3)
    model = log(folder, run_id=run_id, tracking_uri=uri)
    client.create_registered_model("stranger")
    version = client.create_model_version("stranger", source=model.model_uri, run_id=run_id, model_id=model.model_id)
    client.set_registered_model_alias("stranger", "champion", version.version)
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }
    return Logged(model, Path(model.artifact_location), environment, elsewhere, client, run_id)
