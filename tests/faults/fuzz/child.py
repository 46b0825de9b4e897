"""Fuzzes one target in this process until libFuzzer's own limits end it: `python -m tests.faults.fuzz.child TARGET
FINDINGS [flags and folders of libFuzzer]`.

A finding is kept in the folder FINDINGS, the first input of each signature, and the fuzzing goes on; what ends the
process, libFuzzer keeps itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

import atheris

MOST_VIRTUAL = 12 * 2**30  # bytes; torch alone has five
INSTRUMENTED = ["lib", "flows", "yaml"]


def main(target: str, findings: Path, flags: list[str]) -> None:
    """Does not return."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_VIRTUAL, MOST_VIRTUAL))
    with atheris.instrument_imports(include=INSTRUMENTED):  # all that is imported from here on, where it is needed
        from tests.faults.fuzz.allowed import Finding, attempt
        from tests.faults.fuzz.fuzzing import LAUNCHER
        from tests.faults.fuzz.mutators import MUTATORS
        from tests.faults.fuzz.targets import TARGETS

        seen: set[str] = set()

        def one_input(data: bytes) -> None:
            try:
                attempt(TARGETS[target], data)
            except Finding as finding:
                if finding.signature not in seen:
                    seen.add(finding.signature)
                    _keep(findings, finding.signature, data)

        mutator: dict[str, Any] = {"custom_mutator": MUTATORS[target]} if target in MUTATORS else {}
        atheris.Setup([os.environ.get(LAUNCHER, sys.argv[0]), *flags], one_input, **mutator)
        atheris.Fuzz()


def _keep(findings: Path, signature: str, data: bytes) -> None:
    name = f"{re.sub(r'[^A-Za-z0-9]+', '-', signature)[:100]}-{hashlib.sha256(data).hexdigest()[:8]}"
    (findings / name).write_bytes(data)
    (findings / f"{name}.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
