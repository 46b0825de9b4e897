"""Resolves a repository on a Hugging Face hub to a commit, and fetches its weights into the hub's local cache.

Only this module, and `lib.export.publishing` through it, imports huggingface_hub, with its environment variables
(HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN, HF_HOME and more), and only when something must be asked, so that a fully cached
run starts without it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.data.source.transfer import SERVER_ERRORS, TEMPORARY_REFUSALS
from lib.errors import ChecksumError, SourceError, StoreError, WeightsError
from lib.files.checksum import file_sha256
from lib.files.disk import FULL, disk_full_is_clear
from lib.model.weights.folder import ADAPTER, CONFIG, INDEX, PICKLES, WEIGHTS, adapter_refusal, pickle_refusal, shards
from lib.progress import Progress, silent

if TYPE_CHECKING:
    import httpx2

MAIN = "main"
LOGGER = logging.getLogger(__name__)
LOOK_SECONDS = 10.0  # timeout of a request for headers
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
INVALID_TOKEN = "Invalid credentials in Authorization header"  # a hub's answer

# OpenAI's four models on the hub, at the commits that other projects pin too.
KNOWN_COMMITS = {
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai-community/gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "openai-community/gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "openai-community/gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}
KNOWN_SIZES = dict(zip(KNOWN_COMMITS, ("gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"), strict=True))
KNOWN_SHA256 = {  # of model.safetensors, by commit, where it is published
    "607a30d783dfa663caf39e06633721c8d4cfcd7e": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    "15ea56dee5df4983c59b2538573817e1667135e2": "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
}


@dataclass(frozen=True)
class Repository:
    """A repository and a branch, tag or commit of it (None: the known commit, else `main`)."""

    name: str  # owner/name
    revision: str | None = None

    @property
    def wanted(self) -> str:
        return self.revision or KNOWN_COMMITS.get(self.name, MAIN)

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which needs no network."""
        return COMMIT.fullmatch(self.wanted) is not None


def is_repository(weights: str) -> bool:
    """Whether this can be a repository's name."""
    return NAME.fullmatch(weights) is not None and ".." not in weights and "--" not in weights


def commit_of(repository: Repository) -> str:
    """Returns the commit, 40 hexadecimal digits; asks the hub for a branch or tag (with HF_HUB_OFFLINE, the cache).
    Raises `SourceError` if there is no answer or no such repository or revision."""
    if repository.pinned:
        return repository.wanted
    hub = hub_library()
    if hub.constants.is_offline_mode():
        reference = _reference(repository)
        if not reference.is_file():
            raise SourceError(
                f"{_words(repository)} stands for a commit that only the hub knows, and HF_HUB_OFFLINE is set: set"
                " model.revision to the commit (40 digits from 0-9 and a-f)"
            )
        return reference.read_text(encoding="utf-8").strip()
    with _clear_errors(repository, hint="; set model.revision to a commit, which needs no answer"):
        commit = _look(repository, CONFIG, repository.wanted).commit
    _tell_of_a_move(repository, commit)
    return commit


def _tell_of_a_move(repository: Repository, commit: str) -> None:
    """Warns if the branch or tag stood for another commit when it was last fetched here."""
    reference = _reference(repository)
    before = reference.read_text(encoding="utf-8").strip() if reference.is_file() else commit
    if before != commit:
        LOGGER.warning(
            "%s is now the commit %s, and was %s when it was last fetched here: set model.revision to one of them to"
            " stay with it",
            _words(repository),
            commit,
            before,
        )


def fetch_config(repository: Repository, commit: str) -> Path:
    """Returns the folder in the hub's cache with the commit's config.json, fetching it if necessary. Raises
    `SourceError` (`temporary` if a retry may help) or, for a full disk, `StoreError`."""
    folder = _fetched(repository, commit, CONFIG, silent).parent
    if not repository.pinned:  # for `commit_of` offline, as huggingface_hub does for branches and tags
        reference = _reference(repository)
        with disk_full_is_clear(reference.parent), _clear_errors(repository):
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(commit, encoding="utf-8")
    return folder


def fetch_weights(repository: Repository, commit: str, *, progress: Progress = silent) -> Path:
    """Returns the folder in the hub's cache with the commit's config.json and safetensors, fetching them if necessary.

    `progress` counts the bytes of each file. Files with a SHA-256 from the hub or from here are checked. Raises
    SourceError (`temporary` if a retry may help), WeightsError if there are no safetensors, ChecksumError for a damaged
    file in the cache, and StoreError for a full disk.
    """
    folder = fetch_config(repository, commit)
    name = next((name for name in (WEIGHTS, INDEX) if (folder / name).is_file()), None)
    name = name or next((name for name in (WEIGHTS, INDEX) if _has(repository, commit, name)), None)
    if name is None:
        if any(_has(repository, commit, pickle) for pickle in PICKLES):
            raise pickle_refusal(repository.name, repository.name, folder, revision=commit)
        raise WeightsError(f"{repository.name} has neither {WEIGHTS} nor {INDEX}: choose another model")
    file = _fetched(repository, commit, name, progress)
    if name == WEIGHTS:
        _check(file, KNOWN_SHA256.get(commit) if repository.name in KNOWN_COMMITS else None)
        return folder
    for shard in shards(file):
        _check(_fetched(repository, commit, shard, progress), None)
    return folder


def fetch_files(repository: Repository, commit: str, names: Sequence[str]) -> Path:
    """Returns the folder in the hub's cache with the commit's config.json and those of the small files `names` that it
    has, fetching them if necessary. Raises as `fetch_config` does."""
    folder = fetch_config(repository, commit)
    absent = _absent(repository, commit)
    unknown = [name for name in names if not (folder / name).is_file() and not (absent / name).is_file()]
    if not unknown or hub_library().constants.is_offline_mode():
        return folder
    there = _listed(repository, commit)
    for name in unknown:
        if name in there:
            _fetched(repository, commit, name, silent)
        else:
            _remember_absent(repository, commit, name)
    return folder


def hub_library() -> Any:
    """Imports huggingface_hub, which reads its environment at that moment. By default, disables telemetry and Xet: Xet
    needs hosts that a mirror lacks, and does not resume a cut transfer."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    import huggingface_hub.constants

    return huggingface_hub


def _cache(repository: Repository) -> Path:
    constants = hub_library().constants
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.name.replace('/', '--')}"


def _reference(repository: Repository) -> Path:
    """Returns the file in the cache with the commit that the branch or tag was last fetched at."""
    return _cache(repository) / "refs" / repository.wanted


def _fetched(repository: Repository, commit: str, name: str, progress: Progress) -> Path:
    file = _cache(repository) / "snapshots" / commit / name
    if file.is_file():
        return file
    hub = hub_library()
    with disk_full_is_clear(Path(hub.constants.HF_HUB_CACHE)), _clear_errors(repository, file=name):
        # Asking first shows whether a token is needed, and fails at once where huggingface_hub would retry for long.
        looked = _look(repository, name, commit)
        path = hub.hf_hub_download(
            repository.name,
            name,
            revision=commit,
            endpoint=hub.constants.ENDPOINT,
            cache_dir=hub.constants.HF_HUB_CACHE,
            token=looked.token,
            tqdm_class=_bar(progress),
        )
    return Path(path)


def _has(repository: Repository, commit: str, name: str) -> bool:
    """Whether the commit has a file. That it has none is remembered."""
    from huggingface_hub.errors import EntryNotFoundError

    if (_absent(repository, commit) / name).is_file():
        return False
    with _clear_errors(repository, file=name):
        try:
            _look(repository, name, commit)
        except EntryNotFoundError:
            _remember_absent(repository, commit, name)
            return False
    return True


def _absent(repository: Repository, commit: str) -> Path:
    """Returns the folder in the cache with an empty file for each that the commit is known not to have, as
    huggingface_hub remembers it."""
    return _cache(repository) / ".no_exist" / commit


def _remember_absent(repository: Repository, commit: str, name: str) -> None:
    file = _absent(repository, commit) / name
    with disk_full_is_clear(Path(hub_library().constants.HF_HUB_CACHE)), _clear_errors(repository, file=name):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def _listed(repository: Repository, commit: str) -> set[str]:
    """Returns the names of the commit's files, asking the hub once."""
    hub = hub_library()
    api = hub.HfApi(endpoint=hub.constants.ENDPOINT)
    with _clear_errors(repository):
        told, _ = _first_without_token(
            lambda token: api.model_info(repository.name, revision=commit, timeout=LOOK_SECONDS, token=token)
        )
    return {file.rfilename for file in told.siblings or ()}


@dataclass(frozen=True)
class _Looked:
    """The commit of a requested file, and the token that the hub required (False: none)."""

    commit: str
    token: str | bool


def _look(repository: Repository, name: str, revision: str) -> _Looked:
    """Asks for a file's headers. Raises WeightsError if config.json is missing because there are only adapters."""
    hub = hub_library()
    from huggingface_hub.errors import EntryNotFoundError

    def asked(name: str) -> tuple[Any, str | bool]:
        url = hub.hf_hub_url(repository.name, name, revision=revision, endpoint=hub.constants.ENDPOINT)
        return _first_without_token(lambda token: hub.get_hf_file_metadata(url, token=token, timeout=LOOK_SECONDS))

    try:
        told, token = asked(name)
    except EntryNotFoundError:
        if name == CONFIG:
            with suppress(EntryNotFoundError):
                asked(ADAPTER)
                raise adapter_refusal(repository.name) from None
        raise
    if told.commit_hash is None:
        raise SourceError(
            f"{hub.constants.ENDPOINT} answers, but not as a Hugging Face hub does (no X-Repo-Commit): check"
            " HF_ENDPOINT and the proxy, or set model.weights to a local folder"
        )
    return _Looked(told.commit_hash, token)


def _first_without_token(ask: Callable[[str | bool], Any]) -> tuple[Any, str | bool]:
    """Returns what the hub answers, and the token that it required (False: none): none is sent where none is needed."""
    hub = hub_library()
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

    try:
        return ask(False), False
    except (EntryNotFoundError, RevisionNotFoundError):
        raise
    except HfHubHTTPError as error:
        token = hub.get_token() or False
        if error.response.status_code not in (401, 403, 404) or not token:
            raise
        return ask(token), token


def _check(file: Path, sha256: str | None) -> None:
    """Compares a file with its checksum, which names large files in the cache; raises ChecksumError."""
    # Only the first link's target has that name; it may itself link to a file shared between repositories.
    stored = file.parent / file.readlink() if file.is_symlink() else file
    wanted = sha256 or (stored.name if SHA256.fullmatch(stored.name) else None)
    if wanted is not None and file_sha256(file) != wanted:
        raise ChecksumError(
            f"{file.resolve()} in the hub's cache was changed or damaged: its sha256 is not {wanted}; remove that file"
            " and run again"
        )


def _bar(progress: Progress) -> Any:
    """Returns a class that huggingface_hub uses as a progress bar and that reports to `progress`. `update_transfer`
    tells Xet, if the environment enables it, that one bar is enough."""

    class Bar:
        def __init__(self, *, total: int | None = None, initial: int = 0, **words: object) -> None:  # noqa: ARG002
            self.total, self.n = total, initial

        def update(self, more: float = 1) -> None:
            self.n += int(more)
            progress(self.n, self.total, "bytes")

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        close = refresh = set_description = lambda self, *args, **kwargs: None
        update_transfer = set_postfix_str = set_transfer_postfix_str = lambda self, *args, **kwargs: None

    return Bar


@contextmanager
def _clear_errors(repository: Repository, *, file: str = CONFIG, hint: str = "") -> Iterator[None]:
    """Turns errors of the hub, the network and the cache into one sentence; `hint` ends it if waiting may help."""
    import httpx2  # huggingface_hub's own client, whose errors it passes on
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    constants = hub_library().constants
    what = f"{_words(repository)} cannot be fetched from {constants.ENDPOINT}"
    later = hint or "; run again, or set model.weights to a local folder"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise SourceError(
            f"{_words(repository)}: {file} is not in the hub's cache in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is"
            " set: run once without it, or set model.weights to a local folder"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        temporary = status in TEMPORARY_REFUSALS or status >= SERVER_ERRORS
        reason = f"it answered {status}{later}" if temporary else _refusal(error.response, file)
        raise SourceError(f"{what}: {reason}", temporary=temporary) from error
    except (httpx2.HTTPError, LocalEntryNotFoundError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        reason = str(cause) or type(cause).__name__
        raise SourceError(f"{what}: the connection failed ({reason}){later}", temporary=True) from error
    except OSError as error:
        if error.errno in FULL:
            raise
        if error.errno is None:  # huggingface_hub's own: fewer or more bytes than announced
            raise SourceError(f"{what}: not all of {file} came{later}", temporary=True) from error
        raise StoreError(
            f"The hub's cache in {constants.HF_HUB_CACHE} cannot be used ({error.strerror}): set HF_HOME to a folder"
            " that can be written"
        ) from error


def _refusal(answer: httpx2.Response, file: str) -> str:
    """Explains why the hub refused and what to do."""
    status, code = answer.status_code, answer.headers.get("X-Error-Code")
    if code == "EntryNotFound":
        return f"it has no {file}; " + (
            "name a repository of a model of texts" if file == CONFIG else "choose another revision, or another model"
        )
    if code == "RevisionNotFound":
        return "there is no such revision; check model.revision"
    if code == "GatedRepo":
        return "it is gated; accept its conditions on its page, and set HF_TOKEN to a token of that account"
    if answer.headers.get("X-Error-Message") == INVALID_TOKEN:
        return "the token in HF_TOKEN is not valid; set another, or none if the repository is public"
    if status in (401, 404):
        return (
            "there is no such repository, or only for those who may read it (and no such folder here); check"
            " model.weights, or set HF_TOKEN to a token that may read it"
        )
    if status == 403:
        return "the token in HF_TOKEN may not read it; set one that may"
    return f"it answered {status}; set model.weights to a local folder"


def _words(repository: Repository) -> str:
    return f"{repository.name} at {repository.wanted}"
