"""Chooses the committed corpus: the smallest inputs that reach everything that was reached, within a budget."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.fuzz.fuzzing import CORPUS, LAUNCHER, LONGEST_INPUT, MOST_RESIDENT, MOST_WAITING, PROJECT

FOUND = "found-"  # how the names of inputs begin that were findings once; they stay
MOST_FILES, MOST_BYTES, LARGEST = 150, 48 * 2**10, 4096  # of a target


def minimise(target: str, grown: Path) -> str:
    """Replaces the committed corpus of a target; returns what it is."""
    with tempfile.TemporaryDirectory(prefix="finetune-fuzz-") as folder:
        merged = Path(folder) / "merged"
        merged.mkdir()
        flags = [f"-rss_limit_mb={MOST_RESIDENT}", f"-timeout={MOST_WAITING}", f"-max_len={LONGEST_INPUT}", "-merge=1"]
        given = [str(merged), *(str(each) for each in (CORPUS / target, grown) if each.is_dir())]
        launcher = Path(folder) / "fuzz"  # which libFuzzer starts again, until all inputs were tried
        child = shlex.join([sys.executable, "-m", "tests.faults.fuzz.child", target, folder])
        launcher.write_text(f'#!/bin/sh\nexec {child} "$@"\n', encoding="utf-8")
        launcher.chmod(0o700)
        environment = {**os.environ, LAUNCHER: str(launcher)}
        subprocess.run([str(launcher), *flags, *given], cwd=PROJECT, env=environment, capture_output=True, check=True)
        if not any(merged.iterdir()):
            raise RuntimeError("nothing was merged")
        files = sorted(merged.iterdir(), key=lambda file: (file.stat().st_size, file.name))
        chosen, size = [], 0
        for file in files[:MOST_FILES]:
            size += file.stat().st_size
            if size > MOST_BYTES or file.stat().st_size > LARGEST:
                break
            chosen.append(file)
        kept = CORPUS / target
        kept.mkdir(parents=True, exist_ok=True)
        for file in kept.iterdir():
            if not file.name.startswith(FOUND):
                file.unlink()
        for file in chosen:
            shutil.copyfile(file, kept / file.name[:16])
    return f"{len(chosen)} of {len(files)} inputs, {sum(file.stat().st_size for file in kept.iterdir()):,} bytes"
