"""Fuzzes a target in a process of its own, and says what came of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.fuzz.seeds import SEEDS
from tests.faults.fuzz.words import dictionary

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
CORPUS = HERE / "corpus"
LONGEST_INPUT = 2**14  # bytes
MOST_RESIDENT = 3072  # MiB
LAUNCHER = "FINETUNE_FUZZ_LAUNCHER"  # in the environment: the program that starts this fuzzer again
MOST_WAITING = 300  # seconds of the clock for one input; the processor's are counted in the process (`allowed`)


@dataclass(frozen=True)
class Fuzzed:
    """What came of fuzzing. executions: inputs that were tried; seconds: on the clock; edges, features: of the code
    that they reached; corpus: how many inputs reached something that no other did."""

    target: str
    executions: int
    seconds: float
    edges: int
    features: int
    corpus: int
    findings: list[str] = field(default_factory=list)


def fuzz(target: str, seconds: int, *, corpus: Path | None = None, findings: Path, runs: int = -1) -> Fuzzed:
    """Fuzzes a target from its committed corpus on. `corpus`: a folder that gets what reaches something new, and that a
    next call goes on from (None: kept nowhere); `findings`: a folder that gets each finding; `runs`: most executions.

    Raises RuntimeError where the fuzzer itself does not run.
    """
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="finetune-fuzz-") as folder:
        grown = corpus or Path(folder) / "corpus"
        grown.mkdir(parents=True, exist_ok=True)
        flags = [
            f"-max_total_time={seconds}",
            f"-runs={runs}",
            f"-rss_limit_mb={MOST_RESIDENT}",
            f"-timeout={MOST_WAITING}",
            f"-max_len={LONGEST_INPUT}",
            f"-artifact_prefix={findings}/",
            "-print_final_stats=1",
            "-report_slow_units=1000",
        ]
        if known := dictionary(target):
            (Path(folder) / "words").write_text(known, encoding="ascii")
            flags.append(f"-dict={folder}/words")
        for data in (*SEEDS[target](), *(file.read_bytes() for file in committed(target))):
            (grown / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        command = [sys.executable, "-m", "tests.faults.fuzz.child", target, str(findings), *flags, str(grown)]
        environment = {**os.environ, "TMPDIR": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    return _result(target, time.monotonic() - began, done.stderr, findings)


def committed(target: str) -> list[Path]:
    """Returns the files of a target's committed corpus."""
    return sorted((CORPUS / target).iterdir()) if (CORPUS / target).is_dir() else []


def _result(target: str, seconds: float, said: str, findings: Path) -> Fuzzed:
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    last = re.findall(r"^#\d+\s+\w+\s+cov: (\d+) ft: (\d+)(?: corp: (\d+))?", said, re.MULTILINE)
    if executions is None or not last:
        raise RuntimeError(f"the fuzzer of {target} did not run:\n{said[-3000:]}")
    edges, features, corpus = (int(number or 0) for number in last[-1])
    found = sorted(file.name for file in findings.iterdir() if file.suffix != ".txt")
    return Fuzzed(target, int(executions[1]), seconds, edges, features, corpus, found)
