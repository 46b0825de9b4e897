"""Fuzzes a target: `python -m tests.faults.fuzz TARGET --seconds 1200 --corpus DIR`; with `--keep` the smallest inputs
that reach all that was reached become the committed corpus."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.faults.fuzz.fuzzing import fuzz
from tests.faults.fuzz.minimising import minimise
from tests.faults.fuzz.targets import TARGETS


def main() -> int:
    """Returns 1 if there were findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS])
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--corpus", type=Path, help="grows from run to run")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    parser.add_argument("--keep", action="store_true", help="commit the smallest corpus that reaches the same")
    options = parser.parse_args()
    if options.keep:
        print(minimise(options.target, options.corpus))  # noqa: T201 - this is the program's output
        return 0
    done = fuzz(options.target, options.seconds, corpus=options.corpus, findings=options.findings / options.target)
    print(json.dumps(asdict(done)))  # noqa: T201
    return bool(done.findings)


if __name__ == "__main__":
    sys.exit(main())
