"""Makes MLflow's SQLite file, and brings an older one up to date, so that a kill never leaves it half made.

Both happen on a file beside it (`lib.files.sqlite`); MLflow itself would work in the file, and a kill would make that
unusable.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

import mlflow

from lib.errors import ServiceError
from lib.files.sqlite import holds_something, is_of, made_beside, mark, opened, revision, sweep
from tasks.environment import sqlite_uri
from tasks.running import page_here

HELD = ("runs", "registered_models", "logged_models", "trace_info", "datasets")  # tables with what nobody may lose


def ready_database(database: Path, files: Path) -> None:
    """Makes sure that `database` is there, whole, and as the installed MLflow needs it; the caller holds its lock.

    A missing one is made, and so is one anew whose making was interrupted. `files`: the folder with the files of its
    runs. Raises ServiceError if it belongs to a newer MLflow, was emptied, or may not be changed now, and sqlite3.Error
    or MLflow's errors if it cannot be read or written.
    """
    sweep(database)
    if not database.exists():
        _make(database)
        return
    if database.is_file() and database.stat().st_size == 0 and files.is_dir() and next(files.iterdir(), None):
        raise ServiceError(
            f"{database} is empty, but {files} has files of runs: restore it from a backup, or remove it, and the next"
            " run begins a new one without the runs and registered models that were in it"
        )
    with opened(database) as connection:
        if is_of(connection, mlflow.__version__):
            return
        found, holds = revision(connection), holds_something(connection, HELD)
    _bring_up_to_date(database, found, holds_something=holds)


def _bring_up_to_date(database: Path, found: str | None, *, holds_something: bool) -> None:
    """found: the revision of its tables; None if no migration has finished."""
    from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision

    if found == _get_latest_schema_revision():  # type: ignore[no-untyped-call]
        with suppress(sqlite3.OperationalError), opened(database) as connection:  # it may be read only
            mark(connection, mlflow.__version__)
        return
    if not holds_something:
        _make(database)
        return
    from alembic.script import ScriptDirectory

    known = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    if found is not None and found not in {script.revision for script in known.walk_revisions()}:
        raise ServiceError(
            f"{database} was written by a newer MLflow than {mlflow.__version__}: install that version again, or set"
            " FINETUNE_HOME to another folder"
        )
    page = page_here("mlflow")
    if page is not None:
        raise ServiceError(
            f"{database} is of an older MLflow, and the server at {page} writes into it: stop that (`finetune up` or"
            " `finetune ui`), run again, and start it anew"
        )
    _make(database, of=database)


def _make(database: Path, of: Path | None = None) -> None:
    """Makes the file anew, from a copy of `of` if that is given: what runs of an older MLflow write meanwhile is
    refused, and their records wait in the outbox."""
    from mlflow.store.db.utils import _initialize_tables, _upgrade_db, _verify_schema, create_sqlalchemy_engine

    with made_beside(database, mlflow.__version__, of) as begun:
        engine = create_sqlalchemy_engine(sqlite_uri(begun))  # type: ignore[no-untyped-call]
        try:
            if of is None:
                _initialize_tables(engine)  # type: ignore[no-untyped-call]
            else:
                _upgrade_db(engine)  # type: ignore[no-untyped-call]
            _verify_schema(engine)  # type: ignore[no-untyped-call]
        finally:
            engine.dispose()
