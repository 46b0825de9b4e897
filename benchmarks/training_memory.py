"""How much memory teaching a GPT to follow instructions takes: `python -m benchmarks.training_memory`, for 355M.

Random weights of that shape are trained by the project's own code for two steps on entries that fill each batch to its
full width, in a process of its own. Measured is the highest resident memory of that process (VmHWM of
/proc/self/status), everything included: Python, torch, the weights, gradients, AdamW's moments, activations. Linux
only.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.sizes import SIZES
from lib.model.gpt2.writing import WritingGPT
from lib.training.instruct.batches import EncodedEntries
from lib.training.instruct.finetune import finetune_instructions
from lib.training.settings import Settings

STEPS = 2  # AdamW's moments are there after the first


def peak(size: str, *, width: int, batch_size: int, precision: str, checkpointing: bool) -> int:
    """Bytes that a process of its own had at its highest."""
    flags = [size, f"{width}", f"{batch_size}", precision, f"{int(checkpointing)}"]
    command = [sys.executable, "-m", "benchmarks.training_memory", "--train", *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1])
    return int(done.stdout)


def _train(size: str, width: str, batch_size: str, precision: str, checkpointing: str) -> int:
    tokens = [[1 + (row + place) % 1000 for place in range(int(width))] for row in range(STEPS * int(batch_size))]
    entries = EncodedEntries(tokens, [0] * len(tokens), max_length=int(width), mask_instruction=False)
    one = EncodedEntries(tokens[:1], [0], max_length=int(width), mask_instruction=False)
    settings = Settings(
        epochs=1,
        batch_size=int(batch_size),
        precision="bfloat16" if precision == "bfloat16" else "float32",
        evaluate_batches=1,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as scratch:
        splits = {"train": entries, "validation": one}
        finetune_instructions(
            WritingGPT(new_gpt(SIZES[size], seed=0)),
            splits,
            settings=settings,
            gradient_checkpointing=checkpointing == "1",
            scratch=Path(scratch),
        )
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main(arguments: list[str]) -> None:
    """Print the figures, or, as the process that is measured, the one number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="gpt2-medium", help="the shape (default: gpt2-medium, 355M)")
    parser.add_argument("--width", type=int, default=128, help="tokens of every entry (default: 128)")
    parser.add_argument("--batch-size", type=int, default=8, help="entries a batch (default: 8)")
    parser.add_argument("--train", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.train:
        sys.stdout.write(f"{_train(*chosen.train)}\n")
        return
    for precision in ("float32", "bfloat16"):
        for checkpointing in (False, True):
            bytes_ = peak(
                chosen.size,
                width=chosen.width,
                batch_size=chosen.batch_size,
                precision=precision,
                checkpointing=checkpointing,
            )
            with_ = "with" if checkpointing else "without"
            sys.stdout.write(f"{chosen.size}, {precision}, {with_} gradient checkpointing: {bytes_ / 2**30:.2f} GiB\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
