"""Row "features": the features step against its floor, the time that its matrix products alone must take.

The floor counts floating-point operations (`floor_operations`) and divides by the fastest rate that this machine's
matrix products reach with the fastest kernel at hand, measured just before and after the step.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from benchmarks.harness import Measured, Row, Target, synchronise
from benchmarks.ours import features_run
from benchmarks.workload import Bench
from lib.model.features.file import DTYPES
from lib.model.gpt2.sizes import GPTConfig
from lib.model.machine.products import onednn_is_faster
from lib.text.batching import RUN_TOKENS

GROUP = "features"
AT_MOST = 1.25  # times the floor


def rows(bench: Bench) -> Iterator[Row]:
    """Measure the step in both precisions."""
    blocks = bench.config.n_layers - 1
    operations = floor_operations(
        bench.config, [len(tokens) for tokens in bench.workload.messages.tokens], blocks=blocks
    )
    for precision in DTYPES:
        bench.say(f"features: {precision}")
        before = matrix_rates(bench, precision)
        run = features_run(bench, precision)
        rates = {shape: max(rate, before[shape]) for shape, rate in matrix_rates(bench, precision).items()}
        shape, rate = max(rates.items(), key=lambda item: item[1])
        floor = operations / rate
        ratio = run.seconds / floor
        yield Row(
            GROUP,
            f"features in {precision}: time as a multiple of the floor",
            Measured(f"the features step, {precision}", run.seconds, "s", f"{bench.workload.tokens:,} tokens"),
            Measured(
                f"{operations / 1e12:.2f} TFLOP at {rate / 1e9:,.0f} GFLOP/s",
                floor,
                "s",
                f"the fastest of {len(rates)} shapes of matrix product: {shape}",
            ),
            ratio,
            Target(f"at most {AT_MOST:g}x", ratio <= AT_MOST) if bench.judged else None,
            details={"gflops_per_second": {name: each / 1e9 for name, each in rates.items()}},
            better="lower",
        )


def floor_operations(config: GPTConfig, lengths: Sequence[int], *, blocks: int) -> float:
    """Floating-point operations that messages of these lengths (tokens) need in `blocks` blocks, without padding.

    For each token and block the four matrices have 12 d^2 weights, each a multiplication and an addition; attention
    multiplies each pair of a position and one that it sees by d twice (scores, mixing), which for L tokens are
    L (L + 1) / 2 pairs. Norms, softmax and GELU are not counted.
    """
    d = config.emb_dim
    matrices = 24 * d * d * sum(lengths)
    attention = 4 * d * sum(length * (length + 1) // 2 for length in lengths)
    return float(blocks * (matrices + attention))


def matrix_rates(bench: Bench, precision: str) -> dict[str, float]:
    """Operations a second of matrix products: square ones, and those of a block for a batch of tokens."""
    d = bench.config.emb_dim
    tokens = RUN_TOKENS[torch.device(bench.device).type]
    shapes = [(size, size, size) for size in bench.amounts.squares]
    shapes += [(tokens, d, 3 * d), (tokens, d, d), (tokens, d, 4 * d), (tokens, 4 * d, d)]
    limit = bench.amounts.matrix_seconds
    return {f"{m} x {k} x {n}": _rate(m, k, n, bench.device, DTYPES[precision], limit) for m, k, n in shapes}


def _rate(m: int, k: int, n: int, device: str, dtype: torch.dtype, limit: float) -> float:
    """Of (m, k) by (k, n): the fastest of products repeated for `limit` seconds; on a GPU, of ten at a time."""
    rows, weights = torch.randn(m, k, device=device).to(dtype), torch.randn(n, k, device=device).to(dtype)
    together = 1 if device == "cpu" else 10
    best = float("inf")
    kernels = _kernels(rows, weights)
    for kernel in kernels:
        stop = time.perf_counter() + limit / len(kernels)
        kernel()
        while time.perf_counter() < stop:
            synchronise()
            started = time.perf_counter()
            for _ in range(together):
                kernel()
            synchronise()
            best = min(best, (time.perf_counter() - started) / together)
    return 2.0 * m * k * n / best


def _kernels(rows: torch.Tensor, weights: torch.Tensor) -> list[Callable[[], object]]:
    """Every kernel at hand: torch's choice, and on a CPU oneDNN with weights in its own layout."""
    own: list[Callable[[], object]] = [lambda: F.linear(rows, weights)]
    if rows.device.type == "cpu" and onednn_is_faster():
        packed = torch.ops.mkldnn._reorder_linear_weight(weights, len(rows))
        own.append(lambda: torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], ""))
    return own
