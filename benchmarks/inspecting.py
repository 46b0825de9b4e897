"""Row "inspecting": `finetune inspect` on files of 100 MB, in a process of its own, from its start to its end.

Texts beyond the first lot are the same with their words in another order; rows are sorted by their labels, as where the
first rows tell little.
"""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.growth import texts_without_end
from benchmarks.harness import Measured, Row, limit_row
from benchmarks.workload import PROJECT, Bench

GROUP = "inspecting"
BYTES_A_UNIT = 200_000  # of a file; a unit is `growth_unit`'s 500
ALLOWED_SECONDS = 2.0
CLASSES = 5
TIMES = 3  # of which the fastest counts: the file is then in memory


def rows(bench: Bench) -> Iterator[Row]:
    """Measure each format."""
    size = BYTES_A_UNIT * bench.amounts.growth_unit
    for name, write in FORMATS.items():
        bench.say(f"inspecting: {name}")
        file = bench.folder / f"texts.{name}"
        count = write(file, bench.workload.messages.texts, size)
        took, peak, found = min((_inspected(file) for _ in range(TIMES)), key=lambda result: result[0])
        assert sum(found["labels"].values()) == count, "every label is counted"
        megabytes = file.stat().st_size / 1e6
        yield limit_row(
            GROUP,
            f"inspecting {megabytes:,.0f} MB of {name}",
            Measured("finetune inspect", took, "s", f"{count:,} rows; {peak / 1e6:,.0f} MB of memory at most"),
            ALLOWED_SECONDS,
            judged=bench.judged,
            details={"peak_bytes": peak, "rows_read": found["rows_read"]},
        )
        file.unlink()


def _inspected(file: Path) -> tuple[float, int, dict[str, dict[str, int]]]:
    """Returns seconds, peak bytes and what was found, of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "flows.inspect", str(file), "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    took = time.perf_counter() - started
    return took, json.loads(done.stderr.splitlines()[-1])["peak_bytes"], json.loads(done.stdout)


def _labelled(texts: list[str], size: int, beside: int) -> list[tuple[str, str]]:
    """Returns labels and texts of about so many bytes, `beside` of them in each row being neither."""
    average = sum(len(text.encode()) for text in texts) / len(texts) + beside
    count = int(size / average)
    return [(f"class {CLASSES * at // count}", text) for at, text in enumerate(islice(texts_without_end(texts), count))]


def _csv(file: Path, texts: list[str], size: int) -> int:
    labelled = _labelled(texts, size, len("class 0,\r\n"))
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("label", "text"), *labelled])
    return len(labelled)


def _jsonl(file: Path, texts: list[str], size: int) -> int:
    labelled = _labelled(texts, size, len('{"label": "class 0", "text": ""}\n'))
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"label": label, "text": text}) + "\n" for label, text in labelled)
    return len(labelled)


def _parquet(file: Path, texts: list[str], size: int) -> int:
    labels, written = zip(*_labelled(texts, size, 0), strict=True)
    pq.write_table(pa.table({"label": labels, "text": written}), file, compression="none", use_dictionary=["label"])
    return len(labels)


# Each writes a file of about so many bytes, and returns its rows.
FORMATS: dict[str, Callable[[Path, list[str], int], int]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
