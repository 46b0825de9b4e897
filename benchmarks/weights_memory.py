"""How much memory loading pretrained weights takes: `python -m benchmarks.weights_memory`, for the 774M shape.

A file of weights of that shape is made as a sparse one (all zeros, no room on the disk) and loaded by a fresh process,
which has loaded a tiny one before, so that libraries and their buffers are there already. Measured is how far that
process's resident memory rises at its highest above where it was: VmHWM of /proc/self/status, set back before, minus
VmRSS. It counts anonymous memory and pages of mapped files alike, so nothing hides in the mapping. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.model.gpt2.config import write_config
from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.gpt2.weights import load_gpt, named_tensors
from lib.model.weights.folder import WEIGHTS
from lib.model.weights.tensors import TYPES

TINY = GPTConfig(context_length=8, emb_dim=8, n_heads=2, n_layers=1, vocab_size=8)


@dataclass(frozen=True)
class Memory:
    """Bytes: the model as it is used (float32), its largest tensor as it is stored, and the rise while loading."""

    model: int
    largest_tensor: int
    peak: int

    def __str__(self) -> str:
        """In MiB, and as the multiple of the model that a reader wants to know."""
        return (
            f"model {self.model / 2**20:,.1f} MiB, largest tensor {self.largest_tensor / 2**20:,.1f} MiB,"
            f" peak {self.peak / 2**20:,.1f} MiB: {self.peak / self.model:.3f} times the model, and"
            f" {(self.peak - self.model) / self.largest_tensor:.2f} times its largest tensor above it"
        )


def measure(config: GPTConfig, dtype: torch.dtype = torch.float32) -> Memory:
    """Load weights of this shape, stored in this type, in a process of their own."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary, "tiny"), Path(temporary, "weights")]
        _make(TINY, dtype, folders[0])
        sizes = _make(config, dtype, folders[1])
        command = [sys.executable, "-m", "benchmarks.weights_memory", "--load", *map(str, folders)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1])
    return Memory(4 * sum(sizes) // dtype.itemsize, max(sizes), int(done.stdout))


def _make(config: GPTConfig, dtype: torch.dtype, folder: Path) -> list[int]:
    """A folder of weights that are all zero; returns the bytes of each tensor."""
    folder.mkdir()
    write_config(config, folder)
    with torch.device("meta"):
        tensors = {name: tensor.to(dtype) for name, tensor in named_tensors(GPT(config)).items()}
    header: dict[str, object] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": TYPES[dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (folder / WEIGHTS).open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    return [tensor.nbytes for tensor in tensors.values()]


def _rise(tiny: Path, weights: Path) -> int:
    """Bytes that this process's memory rises by while it loads, at its highest."""
    torch.set_num_threads(1)
    load_gpt(tiny)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets VmHWM back (proc(5))
    gpt = load_gpt(weights)
    peak = _status("VmHWM")
    assert gpt.config.emb_dim  # still here: the model is part of what is measured
    return peak - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(arguments: list[str]) -> None:
    """Print the figures, or, as the process that is measured, the one number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="gpt2-large", help="the shape (default: gpt2-large, 774M)")
    parser.add_argument("--load", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.load:
        sys.stdout.write(f"{_rise(*chosen.load)}\n")
        return
    for dtype in (torch.float32, torch.bfloat16):
        sys.stdout.write(f"{chosen.size} stored as {TYPES[dtype]}: {measure(SIZES[chosen.size], dtype)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
