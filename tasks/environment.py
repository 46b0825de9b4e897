"""Sets where this process stores its files and finds Prefect and MLflow.

Everything lies under `$FINETUNE_HOME` (default: `.finetune` in a checkout, `~/.finetune` where the program is
installed) unless `PREFECT_API_URL` or `MLFLOW_TRACKING_URI` name a server. `configure` must run before Prefect or
MLflow are imported, because both read the environment then.
"""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from lib.errors import StoreError
from lib.files.disk import require_space
from lib.files.open_files import require_open_files
from lib.secrets import Address

PREFECT_PORT = 4200
MLFLOW_PORT = 5000
LEAST_FREE = 2**24  # bytes: the databases of Prefect and MLflow take ten million for a first small run
OPEN_FILES = 64  # of which a run, its database and its server's connections have about forty at once
PROJECT = Path(__file__).resolve().parents[1]
IN_A_CHECKOUT = (PROJECT / "pyproject.toml").is_file()  # rather than installed from a wheel
# No permission, a read-only file system, a file where a folder must be (or a folder where a file must be).
UNUSABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
)


def home() -> Path:
    """The folder for everything that a run keeps."""
    default = PROJECT / ".finetune" if IN_A_CHECKOUT else "~/.finetune"
    return Path(os.environ.get("FINETUNE_HOME") or default).expanduser().absolute()


def shipped(file: str) -> Path:
    """A file of the project's that is no part of a package: where the checkout has it, or where the wheel put it."""
    if IN_A_CHECKOUT:
        return PROJECT / file
    installed = metadata.files("finetune-flows") or ()
    return Path(str(next(path for path in installed if path.match(f"share/finetune-flows/{file}")).locate())).resolve()


def make_home() -> None:
    """Creates the folders for everything, where they are not there yet; raises OSError if they cannot be. A home that
    is made here is its owner's alone: texts and databases lie in it."""
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (store_folder(), Path(os.environ["PREFECT_HOME"]).expanduser()):
        folder.mkdir(parents=True, exist_ok=True)


def require_room() -> None:
    """Raises StoreError unless the home's disk has room for what a run notes, whatever its artifacts need: a disk that
    is full already could not even take that the run failed. Likewise for the files that it has open."""
    require_space(home(), LEAST_FREE, "a run")
    require_open_files(OPEN_FILES, "a run")


@contextmanager
def unusable_home_is_clear() -> Iterator[None]:
    """Turns a home that cannot be created, read or written into one sentence; other `OSError`s pass unchanged. Raises
    StoreError, naming the file or folder in the way and FINETUNE_HOME."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNUSABLE or not isinstance(error.filename, str):
            raise
        place = Path(error.filename)
        # A folder above the home is named where that is the one that cannot be created.
        if not (place.is_relative_to(home()) or home().is_relative_to(place)):
            raise
        raise StoreError(
            f"{place} cannot be used ({error.strerror}): see that {home()} is a folder that can be written, or set"
            " FINETUNE_HOME to another one"
        ) from error


def store_folder() -> Path:
    """The artifact store."""
    return home() / "store"


def local_tracking_uri() -> str:
    """MLflow's SQLite file."""
    return sqlite_uri(home() / "mlflow.db")


def sqlite_uri(file: Path, driver: str = "") -> str:
    """A SQLite file as SQLAlchemy is told of it: `?` and `%` of a path would mean something else in an address."""
    return f"sqlite{f'+{driver}' if driver else ''}:///{str(file).replace('%', '%25').replace('?', '%3F')}"


def tracking_uri() -> Address:
    """Where MLflow records runs: the server that MLFLOW_TRACKING_URI names, or the local file."""
    return Address(os.environ.get("MLFLOW_TRACKING_URI") or local_tracking_uri())


def artifact_folder() -> Path:
    """Where local MLflow runs keep their files."""
    return home() / "mlartifacts"


def tracking_is_served() -> bool:
    """Whether MLFLOW_TRACKING_URI names a server: a database has no pages of its own until `make ui` serves it."""
    return tracking_uri().startswith(("http://", "https://"))


def configure() -> None:
    """Sets what Prefect, MLflow and Arrow read from the environment; what the user has set wins. Creates nothing, so
    that what needs no folder works without one: `--help`, or listing an empty store."""
    defaults = {
        "PREFECT_HOME": str(home() / "prefect"),
        # Nothing phones home.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # --json leaves standard output to the JSON
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # On a terminal only what needs attention; Prefect's pages get all of it.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "finetune",
        # What is logged outside of a flow run, by `--explain` for example, has no page to go to.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        # A first start creates the database, which on a busy machine takes longer than the 20 s that are the default.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # Arrow's own allocators take megabytes in advance, for tables that are larger than ours.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        if os.environ.get(name) == "":  # names no server; Prefect would take it for an address, and fail at each event
            del os.environ[name]
    # Prefect tries when it is imported and makes no folders above its own; `make_home` comes before its server.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
