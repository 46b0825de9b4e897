"""Makes what each target's fuzzing begins with: small whole files of every kind that is read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from lib.recipes.reading import bundled_recipes

TABLE = [{"text": "free prize, call now", "label": "spam"}, {"text": 'see you "there"', "label": "ham"}]
ENTRIES = [{"instruction": "Add.", "input": "1 and 2", "output": "3"}]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Ho"},
]
LINES = "text,label\n" + "".join('"{}",{}\n'.format(row["text"].replace('"', '""'), row["label"]) for row in TABLE)


def _zipped(names: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in names.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return packed.getvalue()


def _tarred(names: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def archives() -> Iterator[bytes]:
    """Yields archives and compressed files."""
    import pyarrow as pa

    text = LINES.encode()
    names = {"readme.txt": b"read me", "data/data.csv": text}
    yield text
    for content in (text, _tarred({"data.csv": text})):
        yield gzip.compress(content, mtime=0)
        yield bz2.compress(content)
        yield lzma.compress(content)
        yield pa.compress(content, "zstd", asbytes=True)
    yield _zipped(names)
    yield _zipped(names, zipfile.ZIP_STORED)
    yield _zipped({"train.csv": text, "test.csv": text, "__MACOSX/._a": b"a"})
    yield _zipped({"data.csv.gz": gzip.compress(text, mtime=0)})
    yield _tarred(names)
    yield _tarred({"é" * 120 + "/data.csv": text})
    yield _tarred({"n" * 120: text}, tarfile.GNU_FORMAT)
    yield _tarred(names, tarfile.USTAR_FORMAT)


def texts() -> Iterator[bytes]:
    """Yields rows with fields, in several dialects and encodings."""
    yield LINES.encode()
    yield b"spam\tfree prize\nham\tsee you\n"
    yield LINES.replace(",", ";").replace("\n", "\r\n").encode("cp1252")
    yield LINES.encode("utf-16")
    yield LINES.encode("utf-8-sig")
    yield "label|text\nspam|größer €\nham|été\n".encode("cp1252")
    yield b'text,label\n"a\nb",x\n"c \\"d\\"",y\n'
    yield b",text,label,\n0,a,x,\n1,b,y,\n"
    yield gzip.compress(LINES.encode(), mtime=0)
    yield "label\ttext\nspam\tпривет\nham\t中文\n".encode("utf-32")


def jsons() -> Iterator[bytes]:
    """Yields JSON in every arrangement."""
    for rows in (
        TABLE,
        ENTRIES,
        [{"messages": CHAT}],
        [{"id": 1, "text": "a", "label": None, "nested": {"a": [1.5, True]}}],
    ):
        yield "".join(json.dumps(row) + "\n" for row in rows).encode()
        yield json.dumps(rows).encode()
        yield json.dumps(rows, indent=1).encode()
        yield "\n".join(json.dumps(row, indent=1) for row in rows).encode()
        yield json.dumps({"version": 1, "data": rows}).encode()
    yield json.dumps({name: [row[name] for row in TABLE] for name in ("text", "label")}).encode()
    yield json.dumps(
        {name: {str(at): row[name] for at, row in enumerate(TABLE)} for name in ("text", "label")}
    ).encode()
    yield json.dumps({"columns": ["text", "label"], "data": [[*row.values()] for row in TABLE]}).encode()
    yield json.dumps({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "\ud83d"}]}).encode()
    yield str(TABLE[0]).encode()


def parquets() -> Iterator[bytes]:
    """Yields Parquet files of every type and encoding that is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"info": {"features": {"label": {"names": ["ham", "spam"], "_type": "ClassLabel"}}}}
    text = pa.array([row["text"] for row in TABLE])
    tables = [
        pa.table({"text": text, "label": pa.array([row["label"] for row in TABLE])}),
        pa.table({"text": text, "label": pa.array([1, 0])}).replace_schema_metadata(
            {"huggingface": json.dumps(features)}
        ),
        pa.table({"text": text.dictionary_encode(), "label": pa.array([1.0, None])}),
        pa.table({"messages": pa.array([CHAT]), "m": pa.array([{"body": "a", "n": 1}])}),
        pa.table({"text": text.cast(pa.large_binary()), "label": pa.array([["a", "b"], []])}),
    ]
    for table in tables:
        for options in (
            {"compression": "NONE"},
            {"compression": "SNAPPY"},
            {"compression": "ZSTD", "data_page_version": "2.0", "row_group_size": 1},
            {"compression": "NONE", "use_dictionary": False},
        ):
            written = io.BytesIO()
            pq.write_table(table, written, **options)
            yield written.getvalue()


def tensors() -> Iterator[bytes]:
    """Yields files of weights."""
    import torch
    from safetensors.torch import save

    yield save({"a": torch.ones(2, 3)})
    yield save({"a": torch.ones(2), "b": torch.zeros(1, dtype=torch.int64)}, metadata={"format": "pt"})
    yield save({name: torch.ones(1, dtype=getattr(torch, name)) for name in ("bfloat16", "float16", "uint8", "bool")})
    yield save({"float8": torch.ones(4).to(torch.float8_e4m3fn), "none": torch.empty(0)})


def recipes() -> Iterator[bytes]:
    """Yields the bundled recipes, and what YAML can do besides."""
    for folder in ("classify", "instruct"):
        for file in bundled_recipes(folder).values():
            yield file.read_bytes()
    yield b"data: {url: a.csv, labels: {spam: [1, yes], ham: null}}\nmodel: gpt2\nsplit: &a {train: 0.5}\nb: *a\n"
    yield b"training:\n  epochs: 1e3\n  batch_size: 0x10\n  learning_rate: .inf\nname: !!str 1\n<<: {a: 1}\n"
    yield b"data:\n  url: |\n    a\n  sha256: 2024-01-01\n? [a, b]\n: c\n"


def requests() -> Iterator[bytes]:
    """Yields bodies in every form, and whole requests."""
    bodies = [
        {"inputs": ["a b", "c"]},
        {"inputs": {"text": ["a"]}},
        {"instances": [{"text": "a"}]},
        {"dataframe_split": {"columns": ["id", "text"], "data": [[1, "a"]]}},
        {"dataframe_records": [{"text": "é\ud83d\ude00"}]},
        {"text": "one two three"},
        {"inputs": []},
        {"inputs": [None, 1.5, {}]},
    ]
    for body in bodies:
        yield json.dumps(body).encode()
    head = b"Host: localhost\r\nContent-Type: application/json; charset=utf-8\r\n"
    yield b"POST /invocations HTTP/1.1\r\n" + head + b'Content-Length: 16\r\n\r\n{"inputs":["a"]}'
    yield (
        b"POST /explain HTTP/1.1\r\n"
        + head
        + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"text":\r\n4\r\n"a"}\r\n0\r\n\r\n'
    )
    for path in (
        b"/",
        b"/docs",
        b"/openapi.json",
        b"/model",
        b"/metrics",
        b"/ping",
        b"/version",
        b"/try.js",
        b"/%00?a=b#c",
    ):
        yield b"GET " + path + b" HTTP/1.1\r\nHost: [::1]:5050\r\nX-Request-ID: 1\r\nAuthorization: Bearer a\r\n\r\n"
    yield b"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n"


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "archive": archives,
    "delimited": texts,
    "json": jsons,
    "parquet": parquets,
    "safetensors": tensors,
    "recipe": recipes,
    "http": requests,
}
