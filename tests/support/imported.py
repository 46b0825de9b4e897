"""Imports what takes long, for commands that are forked from the process which does (`forked.py`)."""

import gc
import importlib
import sys
from contextlib import suppress
from pathlib import Path

import accelerate  # noqa: F401
import jinja2  # noqa: F401
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import matplotlib.figure  # noqa: F401
import pandas  # noqa: F401
import prefect.artifacts
import prefect.events.worker
import prefect.flow_engine
import prefect.logging.configuration
import prefect.task_engine
import prefect.transactions
import prefect.utilities.visualization  # noqa: F401
import pydantic.v1  # noqa: F401
import sklearn.feature_extraction.text
import sklearn.linear_model  # noqa: F401
import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401
import torch._dynamo  # noqa: F401

# Sets what MLflow and Arrow read when they are imported.
import tasks  # noqa: F401 # isort: skip
import mlflow.store.model_registry.sqlalchemy_store  # isort: skip
import mlflow.store.tracking.sqlalchemy_store  # isort: skip
import mlflow.pyfunc  # noqa: F401 # isort: skip
from mlflow.utils.requirements_utils import _init_packages_to_modules_map  # isort: skip

_init_packages_to_modules_map()  # type: ignore[no-untyped-call] # of what is installed, which does not change
# Each command's own environment decides what the project's code does: it imports that itself, but for `lib`, which has
# none. What `tasks` told it is forgotten.
for name in [name for name in sys.modules if name.partition(".")[0] in ("tasks", "lib")]:
    del sys.modules[name]
from lib.store.fingerprint import code_fingerprint  # noqa: E402 # isort: skip

# The hashes of the sources, which a command looks up by their times and sizes.
reached = {"lib.recipes.classify", "lib.recipes.instruct", "lib.evaluation.classify.report.page"}
for file in sorted(Path("tasks/steps").rglob("[!_]*.py")):
    reached.update(code_fingerprint(".".join(file.with_suffix("").parts)))
for name in sorted(reached):
    if name.startswith("lib."):
        with suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(name)

# A fork leaves what was imported here out of its garbage collections, each of which would take a part of a second.
gc.collect()
gc.freeze()
