"""Says how old each pin of requirements.lock is: python tools/pins.py INDEX [--write docs/pins.md]

INDEX is the address of a package index, as PIP_INDEX_URL has it, that tells when files were uploaded (PEP 700).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*])?==(?P<version>[^\s;]+)")
AT_ONCE = 6  # questions
SECONDS = 30  # for an answer
MANY_DAYS = 365


def main() -> None:
    """Prints the table, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index")
    parser.add_argument("--write", type=Path, help="a page, in place of the terminal")
    options = parser.parse_args()
    lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [(found["name"], found["version"]) for line in lines if (found := PIN.match(line))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        uploaded = list(pool.map(partial(first_upload, options.index), pins))
    page = table(dict(zip(pins, uploaded, strict=True)), today=datetime.now(UTC).date())
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    else:
        print(page, end="")  # noqa: T201 - this is the program's output


def first_upload(index: str, pin: tuple[str, str]) -> date:
    """Returns the day on which the pinned version was uploaded. Raises LookupError if the index does not tell."""
    name, version = pin
    project = re.sub(r"[-_.]+", "-", name).lower()
    asked = urllib.request.Request(
        f"{index.rstrip('/')}/{project}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
        files = json.load(answer)["files"]
    of_version = re.compile(rf"-{re.escape(version)}(-|\.tar|\.zip)")
    times = [file["upload-time"] for file in files if of_version.search(file["filename"]) and "upload-time" in file]
    if not times:
        raise LookupError(f"the index does not tell when {name} {version} was uploaded")
    return date.fromisoformat(min(times)[:10])


def table(uploaded: dict[tuple[str, str], date], *, today: date) -> str:
    """Returns the page: every pin with its age in days, the oldest first."""
    days = {pin: (today - day).days for pin, day in uploaded.items()}
    oldest_first = sorted(days, key=lambda pin: (-days[pin], pin))
    rows = "\n".join(f"| {name} | {version} | {days[name, version]:,} |" for name, version in oldest_first)
    old = sum(age > MANY_DAYS for age in days.values())
    return (
        "# How old the pinned packages are\n\n"
        f"On {today:%Y-%m-%d}, by `tools/pins.py`: {len(days)} packages of requirements.lock, half of them at most"
        f" {statistics.median(days.values()):,.0f} days old; {old} are older than a year. An old version is no fault by"
        " itself: most of the oldest are finished and have no newer one.\n\n"
        f"| package | version | days since its upload |\n|---|---|---:|\n{rows}\n"
    )


if __name__ == "__main__":
    main()
