"""Clients of a scoring server, in a process of their own: `python -m benchmarks.load ADDRESS CLIENTS REQUESTS TEXTS`.

Each client has a connection, sends one text, waits for the answer and sends the next. TEXTS is a JSON file with a list.
Prints one JSON object: `seconds` from the first request to the last answer, `milliseconds` of each request, `failed`.
They speak HTTP themselves, because an HTTP library takes longer than a tiny classifier, on the same cores.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 300.0  # seconds for one answer
OK = b"200"


@dataclass
class _Measured:
    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def load(
    address: str, *, clients: int, requests: int, texts: list[str], enough: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """So many requests in all, or those until there are `enough`, shared by so many clients at once."""
    waiting = islice(cycle(texts), requests)  # from which each client takes its next text
    measured = _Measured()
    began = time.perf_counter()
    await asyncio.gather(*(_client(address, waiting, measured, enough) for _ in range(clients)))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "milliseconds": measured.milliseconds, "failed": measured.failed}


async def _client(address: str, texts: Iterator[str], measured: _Measured, enough: Callable[[], bool]) -> None:
    place = urlsplit(address)
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for text in texts:
        if enough():
            break
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                connection = connection or await asyncio.open_connection(place.hostname, place.port)
                status, answer, ends = await _ask(*connection, host=place.netloc, text=text)
        except (OSError, EOFError, TimeoutError) as error:
            measured.failed.append(repr(error))
            connection = None
            continue
        measured.milliseconds.append(1000 * (time.perf_counter() - began))
        if status != OK:
            measured.failed.append(f"{status.decode()} {answer.decode()}")
        if ends:
            connection = None
    if connection is not None:
        connection[1].close()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, host: str, text: str
) -> tuple[bytes, bytes, bool]:
    """The status and the body that are answered, and whether the connection ends with them."""
    body = json.dumps({"inputs": [text]})
    writer.write(
        f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii")
    )
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().rstrip().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    answer = await reader.readexactly(int(headers[b"content-length"]))
    return first.split()[1], answer, headers.get(b"connection") == b"close"


if __name__ == "__main__":
    at, count, amount, file = sys.argv[1:]
    found = asyncio.run(
        load(at, clients=int(count), requests=int(amount), texts=json.loads(Path(file).read_text(encoding="utf-8")))
    )
    print(json.dumps(found))  # noqa: T201 - this is the program's output
