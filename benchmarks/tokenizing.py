"""Row "tokenizing": every message of the source, ours against a plain loop and against tiktoken's own batches."""

from collections.abc import Iterator

from benchmarks.harness import DifferentResultsError, Measured, Row, median_seconds, ratio_row
from benchmarks.workload import Bench
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokens import tokenize

GROUP = "tokenizing"
THREADS = (1, 2, 4, 8)  # of `encode_ordinary_batch`; the fastest counts
UNIT = "rows/s"


def rows(bench: Bench) -> Iterator[Row]:
    """Measure all sides in turns."""
    bench.say("tokenizing")
    texts, repeats = bench.workload.texts, bench.amounts.repeats
    tokenizer = gpt2_tokenizer()
    encoding = tokenizer.encoding
    same = tokens_are_the_same(texts)
    ours, loop, *batches = median_seconds(
        [
            lambda: tokenize(texts, tokenizer),
            lambda: [encoding.encode_ordinary(text) for text in texts],
            *(lambda n=n: encoding.encode_ordinary_batch(texts, num_threads=n) for n in THREADS),
        ],
        repeats=repeats,
    )
    batch, threads = min(zip(batches, THREADS, strict=True))
    how = f"{len(texts):,} rows, median of {repeats}"
    measured = Measured("lib.text.tokens.tokenize", len(texts) / ours, UNIT, how)
    for name, elapsed in (
        ("a plain loop of encode_ordinary", loop),
        (f"encode_ordinary_batch, {threads} thread{'s' * (threads > 1)}, its best", batch),
    ):
        what = f"tokenizing, against {name.split(',')[0]}"
        details = {f"batch_rows_per_second_{n}_threads": len(texts) / t for n, t in zip(THREADS, batches, strict=True)}
        yield ratio_row(
            GROUP, what, measured, Measured(name, len(texts) / elapsed, UNIT, how), same=same, details=details
        )


def tokens_are_the_same(texts: list[str]) -> str:
    """All three sides' tokens of every text; raises `DifferentResultsError` where one differs."""
    tokenizer = gpt2_tokenizer()
    encoding, ours = tokenizer.encoding, tokenize(texts, tokenizer)
    if ours != [encoding.encode_ordinary(text) for text in texts] or ours != encoding.encode_ordinary_batch(texts):
        raise DifferentResultsError("the tokens of a text differ between the sides")
    return f"all tokens of {len(texts):,} texts are equal"
