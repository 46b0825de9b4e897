"""`python -m benchmarks [row ...]`: measures, prints a table, writes JSON, a picture and the page's tables.

This module lists the rows and runs them. Rows whose packages are not installed are skipped by
name: most need `lib` alone.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from rich.console import Console

from benchmarks import report
from benchmarks.harness import DifferentResultsError, Row, machine
from benchmarks.workload import PROJECT, QUICK, Bench, make_bench
from lib.model.machine.device import device_name
from lib.model.machine.threads import sensible_threads

# Name of the row -> packages that it needs beyond lib's. Its module has the same name and a function `rows`.
GROUPS: dict[str, tuple[str, ...]] = {
    "finetuning": (),
    "prediction": (),
    "engines": ("onnx", "onnxruntime", "onnxscript"),
    "generation": (),
    "instructing": (),
    "tokenizing": (),
    "features": (),
    "cached_flow": ("prefect", "mlflow"),
    "together": (),
    "growth": (),
    "inspecting": ("pydantic",),
    "scoring": ("pydantic", "filelock"),
    "storing": ("obstore", "s3fs", "boto3"),
    "volume": ("pydantic", "duckdb"),
    "parts": ("pydantic",),
    "serving": ("prefect", "mlflow", "fastapi", "uvicorn", "onnxruntime"),
}
QUICK_OUTPUT = PROJECT / "build" / "benchmarks"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 1 if the two sides of a row did not compute the same thing."""
    options = _parser().parse_args(arguments)
    console, errors = (Console(stderr=stderr, width=None if sys.stdout.isatty() else 120) for stderr in (False, True))

    def say(words: str) -> None:
        errors.print(f"[dim]{words} …")

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        device = device_name(options.device)
        try:
            bench = make_bench(options.data, scratch, device=device, quick=options.quick, say=say)
        except FileNotFoundError as error:
            errors.print(str(error))
            return 2
        # Ours does it itself. Here it is done for the whole process, so that the other sides have its threads and its
        # kept memory too.
        stack.enter_context(sensible_threads(bench.config.emb_dim))
        return run(bench, options.rows or list(GROUPS), options.output, console, errors)


def run(bench: Bench, groups: Sequence[str], output: Path | None, console: Console, errors: Console) -> int:
    """Measure these groups and leave their results; the JSON is written after each, so that none is lost."""
    facts = machine(bench.device)
    folder = output or (report.RESULTS if bench.amounts != QUICK else QUICK_OUTPUT)
    file = report.result_file(folder, facts)
    console.print(f"{report.machine_words(facts)}\nMessages: {bench.workload.source}")
    results = report.merged({"machine": facts, "setting": bench.setting, "rows": []}, file, list(GROUPS))
    failed = False
    for name in groups:
        if missing := not_installed(GROUPS[name]):
            console.print(f"{name} is skipped: {', '.join(missing)} not installed")
            continue
        try:
            rows = []
            for row in measure(name, bench):
                rows.append(row.json())
                bench.say(
                    f"{row.what}: {row.ours.amount:,.4g} {row.ours.unit}, {row.ratio:.3g}x"
                )  # seen at once, whatever comes later
        except DifferentResultsError as error:
            errors.print(f"[bold red]{name} is not measured: {error}")
            failed = True
            continue
        report.print_table(rows, console)
        results = report.merged({**results, "rows": rows}, file, list(GROUPS))
        report.write_results(results, file)
    picture = report.picture_file(report.PICTURES if folder == report.RESULTS else folder, file)
    report.draw_picture(results, picture)
    console.print(f"{file}\n{picture}")
    if folder == report.RESULTS:
        report.write_page(report.PAGE, report.RESULTS)
    return int(failed)


def not_installed(packages: Iterable[str]) -> list[str]:
    """Those of `packages` that this machine does not have."""
    return [package for package in packages if find_spec(package) is None]


def measure(name: str, bench: Bench) -> Iterable[Row]:
    """The rows of the group `name`."""
    return cast(Iterable[Row], import_module(f"benchmarks.{name}").rows(bench))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures what the README claims.")
    parser.add_argument("rows", nargs="*", metavar="row", choices=[*GROUPS, []], help=f"of {', '.join(GROUPS)} (all)")
    parser.add_argument("--quick", action="store_true", help="a tiny model on a few messages, to see that it works")
    parser.add_argument("--data", type=Path, help="the SMS Spam Collection's archive, or the folder that has it")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--output", type=Path, help="folder for the JSON file and the picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
