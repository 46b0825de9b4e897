"""OpenAI's release of GPT-2: its files, its names of tensors, and fetching it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import cast

from lib.data.source.partial import Partial, claimed, forget
from lib.data.source.transfer import AddressError, fetch
from lib.errors import ChecksumError, SourceError, WeightsError
from lib.files.checksum import file_sha256
from lib.files.disk import disk_full_is_clear, give_way, into_place
from lib.model.gpt2.sizes import GPTConfig
from lib.model.weights.folder import CONFIG, read_fields, whole_number
from lib.progress import Progress, silent

HPARAMS = "hparams.json"
CHECKPOINT = "model.ckpt"  # prefix of the three files that TensorFlow wrote
DATA = f"{CHECKPOINT}.data-00000-of-00001"
INDEX = f"{CHECKPOINT}.index"
FILES = ("checkpoint", "encoder.json", HPARAMS, DATA, INDEX, f"{CHECKPOINT}.meta", "vocab.bpe")
WEIGHTS_FILES = (HPARAMS, INDEX, DATA)  # the weights themselves

ADDRESSES = (  # tried in order
    "https://openaipublic.blob.core.windows.net/gpt-2/models",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2",
)
SIZE_LIMIT = 8 * 2**30  # bytes of one file; the largest has 6.2e9
TIMEOUT_SECONDS = 30.0  # without any byte from the server
EPSILON = 1e-5  # of norms: a constant in OpenAI's gpt-2/src/model.py

LOGGER = logging.getLogger(__name__)

# SHA-256 published by others who fetched the files. The encoding's two files are the same for all sizes, and equal
# vocab.json and merges.txt on the hub.
_ENCODING = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
_SMALL = {
    "checkpoint": "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb",
    HPARAMS: "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    DATA: "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
    INDEX: "71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687",
    f"{CHECKPOINT}.meta": "4668c448fa11531fd6700460487f73e82d3272960cea942252f8744bf225c77b",
}


@dataclass(frozen=True)
class Release:
    """One of the four models: OpenAI's name, our size, its addresses, and the pinned checksums of its files."""

    name: str
    size: str
    addresses: tuple[str, ...] = ADDRESSES  # of the folder above the model's
    sha256: Mapping[str, str] = field(default_factory=lambda: _ENCODING)  # by file


RELEASES = {
    release.name: release
    for release in (
        Release("124M", "gpt2-small", sha256=_ENCODING | _SMALL),
        Release("355M", "gpt2-medium"),
        Release("774M", "gpt2-large"),
        Release("1558M", "gpt2-xl"),
    )
}


def is_openai_folder(folder: Path) -> bool:
    """Whether a folder has OpenAI's layout rather than Hugging Face's."""
    return any((folder / name).is_file() for name in WEIGHTS_FILES) and not (folder / CONFIG).is_file()


def read_hparams(folder: Path, *, dropout: float = 0.0) -> GPTConfig:
    """Reads the shape from `folder`/hparams.json; raises `WeightsError` if it is missing or no shape."""
    file = folder / HPARAMS
    if not file.is_file():
        raise WeightsError(f"{file} does not exist: OpenAI's folders have {', '.join(WEIGHTS_FILES)}")
    fields = read_fields(file)
    n_ctx, n_embd, n_head, n_layer, n_vocab = (
        whole_number(fields, name, f"{file}") for name in ("n_ctx", "n_embd", "n_head", "n_layer", "n_vocab")
    )
    try:
        return GPTConfig(n_ctx, n_embd, n_head, n_layer, n_vocab, dropout=dropout, layer_norm_epsilon=EPSILON)
    except ValueError as error:
        raise WeightsError(f"{file} describes no GPT: {error}") from error


def hugging_face_name(variable: str) -> str:
    """Returns transformers' name of an OpenAI variable: model/h0/attn/c_attn/w -> h.0.attn.c_attn.weight. Other names
    are returned unchanged, to be listed as unexpected."""
    found = re.fullmatch(r"model/(?:h(?P<block>\d+)/)?(?P<part>[a-z0-9_/]+?)(?:/(?P<kind>[gbw]))?", variable)
    if found is None or (found["kind"] is None) != (found["part"] in ("wte", "wpe")):
        return variable
    block = f"h.{found['block']}." if found["block"] else ""
    return f"{block}{found['part'].replace('/', '.')}.{'bias' if found['kind'] == 'b' else 'weight'}"


def release_identity(release: Release) -> dict[str, str]:
    """Returns the cache key ingredient of a release: its pinned checksums, as of a local copy, or else its name."""
    pinned = {name: release.sha256[name] for name in WEIGHTS_FILES if name in release.sha256}
    return pinned if len(pinned) == len(WEIGHTS_FILES) else {"openai": release.name}


def fetch_release(
    release: Release,
    folder: Path,
    *,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress = silent,
    warn: Callable[[str], None] = LOGGER.warning,
) -> None:
    """Puts the seven files into `folder`, keeping any that are there, unless their pinned checksum differs.

    The next call, of any process, resumes an interrupted transfer. Files without a pinned checksum are compared with
    the server's Content-MD5 if it sends one; `tensor_bundle.py` checks the checksums inside the weights.

    Args:
        timeout: seconds without any byte from a server.
        progress: counts the bytes of each file.
        warn: gets one sentence for each failed address before another is tried.

    Raises SourceError if no address has a file (`temporary` if a retry may help), ChecksumError for a wrong file, and
    StoreError if the disk is full.
    """
    with disk_full_is_clear(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not _is_there(folder / name, release.sha256.get(name), warn):
                _fetch_file(name, release, folder, timeout, progress, warn)
    with suppress(OSError):  # never made, or in use by another process
        _scratch(folder).rmdir()


def _is_there(file: Path, sha256: str | None, warn: Callable[[str], None]) -> bool:
    if not file.exists():
        return False
    if file.is_file() and (sha256 is None or file_sha256(file) == sha256):
        return True
    give_way(file)
    warn(f"{file} is not the file that OpenAI published (its sha256 differs); fetching it again")
    return False


def _fetch_file(
    name: str, release: Release, folder: Path, timeout: float, progress: Progress, warn: Callable[[str], None]
) -> None:
    failures: list[str] = []
    temporary = False
    addresses = [f"{base}/{release.name}/{name}" for base in release.addresses]
    for address in addresses:
        try:
            with claimed(address, _scratch(folder)) as partial:
                fetch(address, partial, size_limit=SIZE_LIMIT, timeout=timeout, progress=progress)
                _check(partial, address, release.sha256.get(name))
                _keep(partial, folder / name)
            for tried in addresses:  # including partial files from addresses that failed
                forget(tried, _scratch(folder))
            return
        except AddressError as error:
            temporary = temporary or error.temporary
            failures.append(f"{address} {error}")
            if address != addresses[-1]:
                warn(f"{failures[-1]}; trying the next address")
    raise SourceError(
        f"OpenAI's {release.name} cannot be fetched: {', and '.join(failures)}; try again later, or fetch its seven"
        " files by hand into a folder and set model.weights to that folder",
        temporary=temporary,
    )


def _check(partial: Partial, address: str, sha256: str | None) -> None:
    """Compares the file with its known checksums; removes a wrong one and raises ChecksumError."""
    told = partial.validators().get("content_md5")
    try:
        md5 = None if told is None else base64.b64decode(told, validate=True).hex()
    except binascii.Error:
        md5 = None  # not a Content-MD5 (RFC 1864); what is inside the files has checksums of its own
    for algorithm, wanted, whose in (("sha256", sha256, "others have published"), ("md5", md5, "its server announces")):
        partial.file.seek(0)
        if (
            wanted is not None
            and hashlib.file_digest(cast(BufferedRandom, partial.file), algorithm).hexdigest() != wanted
        ):
            partial.remove()
            raise ChecksumError(
                f"The file from {address} does not have the {algorithm} that {whose} ({wanted}): it was changed or"
                " damaged on its way; run again, or fetch the folder from elsewhere and set model.weights to it"
            )


def _keep(partial: Partial, file: Path) -> None:
    """Gives the finished file its name; a private partial file, which has no path, is copied."""
    partial.file.flush()
    if partial.path is not None:
        into_place(partial.path, file)
        partial.remove()
        return
    unfinished = partial.folder / f"{file.name}.{os.getpid()}"
    partial.file.seek(0)
    try:
        with unfinished.open("wb") as copy:
            shutil.copyfileobj(partial.file, copy)
        into_place(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def _scratch(folder: Path) -> Path:
    return folder / ".partial"
