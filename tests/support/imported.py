"""Imports what takes long, for commands that are forked from the process which does (`forked.py`)."""

import sys

import accelerate  # noqa: F401
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import matplotlib.figure  # noqa: F401
import pandas  # noqa: F401
import sklearn.feature_extraction.text
import sklearn.linear_model  # noqa: F401
import torch._dynamo  # noqa: F401

# Sets what MLflow and Arrow read when they are imported.
import tasks  # noqa: F401 # isort: skip
import mlflow.store.tracking.sqlalchemy_store  # isort: skip
import mlflow.pyfunc  # noqa: F401 # isort: skip

# Each command's own environment decides what the project's code and Prefect do: they import that themselves.
for name in [*sys.modules]:
    if name.partition(".")[0] in ("flows", "tasks", "lib"):
        del sys.modules[name]
