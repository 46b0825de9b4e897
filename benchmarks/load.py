"""Clients of a scoring server, in a process of their own: `python -m benchmarks.load ADDRESS CLIENTS REQUESTS TEXTS`.

Each client has a connection, sends one text, waits for the answer and sends the next. TEXTS is a JSON file with a list.
Prints one JSON object: `seconds` from the first request to the last answer, `milliseconds` of each request, `failed`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 300.0  # seconds for one answer


async def load(address: str, *, clients: int, requests: int, texts: list[str]) -> dict[str, Any]:
    """So many requests in all, shared by so many clients at once."""
    waiting = islice(cycle(texts), requests)  # from which each client takes its next text
    milliseconds: list[float] = []
    failed: list[str] = []
    began = time.perf_counter()
    await asyncio.gather(*(_client(address, waiting, milliseconds, failed) for _ in range(clients)))
    return {"seconds": time.perf_counter() - began, "milliseconds": milliseconds, "failed": failed}


async def _client(address: str, texts: Iterator[str], milliseconds: list[float], failed: list[str]) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        for text in texts:
            began = time.perf_counter()
            try:
                answer = await http.post(f"{address}/invocations", json={"inputs": [text]})
            except httpx.HTTPError as error:
                failed.append(repr(error))
                continue
            milliseconds.append(1000 * (time.perf_counter() - began))
            if answer.status_code != httpx.codes.OK:
                failed.append(f"{answer.status_code} {answer.text}")


if __name__ == "__main__":
    at, count, amount, file = sys.argv[1:]
    measured = asyncio.run(
        load(at, clients=int(count), requests=int(amount), texts=json.loads(Path(file).read_text(encoding="utf-8")))
    )
    print(json.dumps(measured))  # noqa: T201 - this is the program's output
