"""Runs the project's commands as processes that are forked from one which has imported torch, Prefect and the like.

Importing takes most of the time of a short command. A command is a process of its own nevertheless, with the arguments,
environment, folder and streams that it is given, and it imports the project's own code itself.
"""

from __future__ import annotations

import atexit
import copy
import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

PROJECT = Path(__file__).resolve().parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.imported"])
# A fork would take over the present path, to which MLflow adds the code of each model that a test loads.
PATH = [*sys.path]
APPENDING = os.O_WRONLY | os.O_APPEND
# What only the project's own code reads, which a fork imports itself, or Prefect, or what is read when it is needed.
READ_LATE = ("FINETUNE_", "PREFECT_", "MLFLOW_TRACKING_URI", "DATABASE", "COLUMNS")


def can_be_forked(environment: Mapping[str, str]) -> bool:
    """Whether a fork heeds all of these variables, though it does not import everything again."""
    return all(name.startswith(READ_LATE) for name in environment)


def run_forked(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    text: str = "",
    together: bool = False,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Does what `subprocess.run` does with `python -m {arguments}` and `text` on standard input, in this project or a
    copy of it; `together`: with one stream for all that it says. Raises TimeoutExpired if it takes longer than
    `seconds`."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(text.encode())
        given.seek(0)
        streams = [_link(stream) for stream in (given, out, out if together else err)]
        process = CONTEXT.Process(target=_run, args=([*arguments], str(folder), dict(environment), streams, PATH))
        process.start()
        try:
            process.join(seconds)
            late = process.exitcode is None
        finally:
            process.kill()  # if it is late, or the test was interrupted
        printed, complained = (_read(stream) for stream in (out, err))
        if late:
            raise subprocess.TimeoutExpired([*arguments], seconds or 0, printed, complained)
        assert process.exitcode is not None
    return subprocess.CompletedProcess([*arguments], process.exitcode, printed, complained)


def _link(stream: IO[bytes]) -> str:
    """What another process can open the file by."""
    return f"/proc/{os.getpid()}/fd/{stream.fileno()}"


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


def _run(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[str], path: list[str]
) -> NoReturn:
    """In the fork: what the interpreter does with `python -m {arguments}`, from its streams to its exit status."""
    sys.path[:] = [folder, *path]
    if Path(folder) != PROJECT:  # which has code of its own
        for name in [name for name in sys.modules if name.partition(".")[0] in ("flows", "tasks", "lib")]:
            del sys.modules[name]
    logging_before = _logging_variables()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, (stream, flags) in enumerate(zip(streams, (os.O_RDONLY, APPENDING, APPENDING), strict=True)):
        opened = os.open(stream, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.argv = [*arguments]
    _read_settings(logging_before)
    status = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = _status(end)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _logging_variables() -> dict[str, str]:
    """What the environment says of logging."""
    return {name: value for name, value in os.environ.items() if "LOGGING" in name}


def _read_settings(logging_before: Mapping[str, str]) -> None:
    """Lets Prefect, which is imported already, read this command's environment as it does when it is imported."""
    import tasks  # noqa: F401 - sets what the command has not set

    importlib.import_module("prefect.context").refresh_global_settings_context()
    configuration: Any = importlib.import_module("prefect.logging.configuration")
    if _logging_variables() == logging_before:  # as nearly always: to make it of all settings again takes a second
        made = {name: value for name, value in configuration.PROCESS_LOGGING_CONFIG.items() if name != "incremental"}
        configuration.load_logging_config = lambda path: copy.deepcopy(made)
    configuration.setup_logging(incremental=False)


def _status(end: SystemExit) -> int:
    """What the interpreter makes of it."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)  # noqa: T201
    return 1
