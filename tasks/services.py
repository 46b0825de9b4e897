"""Where this process keeps its things and finds Prefect and MLflow.

Everything lies under `$FINETUNE_HOME` (default: `.finetune` in the project) unless `PREFECT_API_URL` or
`MLFLOW_TRACKING_URI` name a server. `configure` must run before Prefect or MLflow are imported, because both read the
environment then; `flows/__init__.py` and `tasks/__init__.py` see to that.
"""

import os
from pathlib import Path

PREFECT_PORT = 4200
MLFLOW_PORT = 5000
PROJECT = Path(__file__).resolve().parents[1]


def home() -> Path:
    """The folder for everything that a run keeps."""
    return Path(os.environ.get("FINETUNE_HOME") or PROJECT / ".finetune").expanduser().absolute()


def store_folder() -> Path:
    """The artifact store."""
    return home() / "store"


def local_tracking_uri() -> str:
    """MLflow's SQLite file."""
    return f"sqlite:///{home() / 'mlflow.db'}"


def tracking_uri() -> str:
    """Where MLflow records runs: the server that MLFLOW_TRACKING_URI names, or the local file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_tracking_uri()


def artifact_folder() -> Path:
    """Where local MLflow runs keep their files."""
    return home() / "mlartifacts"


def tracking_page() -> str:
    """Where MLflow's pages are, or will be once `make ui` runs."""
    uri = tracking_uri()
    return uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{MLFLOW_PORT}"


def configure() -> None:
    """Sets what Prefect and MLflow read from the environment; what the user has set wins."""
    defaults = {
        "PREFECT_HOME": str(home() / "prefect"),
        # Nothing phones home.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # On a terminal only what needs attention; Prefect's pages get all of it.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "finetune",
        # What is logged outside of a flow run, by `--explain` for example, has no page to go to.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        # A first start creates the database, which on a busy machine takes longer than the 20 s that are the default.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Prefect makes its folder, but not the folders above it.
    Path(os.environ["PREFECT_HOME"]).expanduser().mkdir(parents=True, exist_ok=True)
