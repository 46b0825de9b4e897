"""Imports what takes long, for commands that are forked from the process which does (`forked.py`)."""

import gc
import sys
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
from lib.store.fingerprint import code_fingerprint  # isort: skip

_init_packages_to_modules_map()  # type: ignore[no-untyped-call] # of what is installed, which does not change
# The hashes of the sources, which a command looks up by their times and sizes.
for file in sorted(Path("tasks/steps").rglob("[!_]*.py")):
    code_fingerprint(".".join(file.with_suffix("").parts))

# Each command's own environment decides what the project's code does: it imports that itself.
KEPT = ("lib", "lib.store", "lib.store.fingerprint")
for name in [*sys.modules]:
    if name.partition(".")[0] in ("flows", "tasks", "lib") and name not in KEPT:
        del sys.modules[name]

# A fork leaves what was imported here out of its garbage collections, each of which would take a part of a second.
gc.collect()
gc.freeze()
