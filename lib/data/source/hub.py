"""Resolves a repository on a Hugging Face hub, of a model or of a data set, to a commit, and fetches its files into the
hub's local cache.

Only this module, and those that ask it for `hub_library`, import huggingface_hub, with its environment variables
(HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN, HF_HOME and more), and only when something must be asked, so that a fully cached
run starts without it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib.data.source.transfer import SERVER_ERRORS, TEMPORARY_REFUSALS, too_large
from lib.errors import ChecksumError, SourceError, StoreError
from lib.files.checksum import file_sha256
from lib.files.disk import FULL, disk_full_is_clear, require_space, write_whole
from lib.progress import Progress
from lib.secrets import Address

if TYPE_CHECKING:
    import httpx2

MAIN = "main"
LOGGER = logging.getLogger(__name__)
LOOK_SECONDS = 10.0  # timeout of a request for headers
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
INVALID_TOKEN = "Invalid credentials in Authorization header"  # a hub's answer

# OpenAI's four models, at the commits that other projects pin too.
KNOWN_COMMITS = {
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai-community/gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "openai-community/gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "openai-community/gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}


@dataclass(frozen=True)
class Advice:
    """What to do about a repository of one kind, for errors: the fields that name it and its revision, what to use
    instead, which one to choose where a file is missing, and where the file `needed` is."""

    field: str
    revision: str
    instead: str
    another: str
    needed: str = ""
    without: str = ""


ADVICE = {
    "model": Advice(
        "model.weights",
        "model.revision",
        "set model.weights to a local folder",
        "choose another revision, or another model",
        needed="config.json",
        without="name a repository of a model of texts",
    ),
    "dataset": Advice(
        "data.repository or the address",
        "data.revision or the address",
        "fetch its files by hand and name them in data.files",
        "choose another revision, or another file",
    ),
}


@dataclass(frozen=True)
class Repository:
    """A repository, and a branch, tag or commit of it (None: the known one, else `main`)."""

    name: str  # owner/name
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"

    @property
    def wanted(self) -> str:
        return self.revision or KNOWN_COMMITS.get(self.name, MAIN)

    @property
    def advice(self) -> Advice:
        return ADVICE[self.kind]

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which needs no network."""
        return COMMIT.fullmatch(self.wanted) is not None


def is_repository(weights: str) -> bool:
    """Whether this can be a repository's name."""
    return NAME.fullmatch(weights) is not None and ".." not in weights and "--" not in weights


def tell_of_a_move(repository: Repository, commit: str) -> None:
    """Warns if the branch or tag stood for another commit when it was last fetched here."""
    reference = reference_file(repository)
    before = reference.read_text(encoding="utf-8").strip() if reference.is_file() else commit
    if before != commit:
        LOGGER.warning(
            "%s is now the commit %s, and was %s when it was last fetched here: set %s to one of them to stay with it",
            words(repository),
            commit,
            before,
            repository.advice.revision,
        )


def commit_in_cache(repository: Repository) -> str:
    """Returns the commit at which the branch or tag was last fetched here. Raises `SourceError` if it never was."""
    reference = reference_file(repository)
    if not reference.is_file():
        raise SourceError(
            f"{words(repository)} stands for a commit that only the hub knows, and HF_HUB_OFFLINE is set: set"
            f" {repository.advice.revision} to the commit (40 digits from 0-9 and a-f)"
        )
    return reference.read_text(encoding="utf-8").strip()


def remember_commit(repository: Repository, commit: str) -> None:
    """Notes in the cache what the branch or tag stands for, for `commit_in_cache`, as huggingface_hub does."""
    if repository.pinned:
        return
    reference = reference_file(repository)
    with disk_full_is_clear(reference.parent), clear_errors(repository):
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_whole(reference, commit)


def hub_library() -> Any:
    """Imports huggingface_hub, which reads its environment at that moment. By default, disables telemetry and Xet: Xet
    needs hosts that a mirror lacks, and does not resume a cut transfer."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    import huggingface_hub.constants

    return huggingface_hub


def cache_folder(repository: Repository) -> Path:
    """Returns the repository's folder in the cache, which need not exist."""
    constants = hub_library().constants
    return Path(constants.HF_HUB_CACHE) / f"{repository.kind}s--{repository.name.replace('/', '--')}"


def reference_file(repository: Repository) -> Path:
    """Returns the file in the cache with the commit that the branch or tag was last fetched at."""
    return cache_folder(repository) / "refs" / repository.wanted


def fetched_file(
    repository: Repository, commit: str, name: str, progress: Progress, *, size_limit: int | None = None
) -> Path:
    """Returns a file of the commit in the hub's cache, fetching it if necessary; `progress` counts its bytes. Raises
    AddressError if these are more than `size_limit`, `SourceError` (`temporary` if a retry may help) or, for a full
    disk, `StoreError`."""
    file = cache_folder(repository) / "snapshots" / commit / name
    if file.is_file():
        return file
    hub = hub_library()
    with disk_full_is_clear(Path(hub.constants.HF_HUB_CACHE)), clear_errors(repository, file=name):
        # Asking first shows whether a token is needed, and fails at once where huggingface_hub would retry for long.
        looked = look(repository, name, commit)
        if size_limit is not None and looked.size > size_limit:
            raise too_large(size_limit)
        require_space(Path(hub.constants.HF_HUB_CACHE), looked.size, "the download")
        path = hub.hf_hub_download(
            repository.name,
            name,
            repo_type=repository.kind,
            revision=commit,
            endpoint=hub.constants.ENDPOINT,
            cache_dir=hub.constants.HF_HUB_CACHE,
            token=looked.token,
            tqdm_class=progress_bar(progress),
        )
    return Path(path)


def has_file(repository: Repository, commit: str, name: str) -> bool:
    """Whether the commit has a file. That it has none is remembered."""
    from huggingface_hub.errors import EntryNotFoundError

    if (absent_folder(repository, commit) / name).is_file():
        return False
    with clear_errors(repository, file=name):
        try:
            look(repository, name, commit)
        except EntryNotFoundError:
            remember_absent(repository, commit, name)
            return False
    return True


def absent_folder(repository: Repository, commit: str) -> Path:
    """Returns the folder in the cache with an empty file for each that the commit is known not to have, as
    huggingface_hub remembers it."""
    return cache_folder(repository) / ".no_exist" / commit


def remember_absent(repository: Repository, commit: str, name: str) -> None:
    """Notes in the cache that the commit has no such file."""
    file = absent_folder(repository, commit) / name
    with disk_full_is_clear(Path(hub_library().constants.HF_HUB_CACHE)), clear_errors(repository, file=name):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def listed(repository: Repository, revision: str, *, hint: str = "") -> tuple[str, set[str]]:
    """Returns the commit that a revision stands for and the names of its files, asking the hub once; `hint` as in
    `clear_errors`."""
    hub = hub_library()
    api = hub.HfApi(endpoint=hub.constants.ENDPOINT)

    def asked(token: str | bool) -> Any:
        return api.repo_info(
            repository.name, repo_type=repository.kind, revision=revision, timeout=LOOK_SECONDS, token=token
        )

    with clear_errors(repository, hint=hint):
        told, _ = _first_without_token(asked)
    return str(told.sha), {file.rfilename for file in told.siblings or ()}


@dataclass(frozen=True)
class _Looked:
    """The commit of a requested file, the token that the hub required (False: none), and the file's bytes."""

    commit: str
    token: str | bool
    size: int


def look(repository: Repository, name: str, revision: str) -> _Looked:
    """Asks for a file's headers; raises what huggingface_hub raises."""
    hub = hub_library()
    endpoint = hub.constants.ENDPOINT
    url = hub.hf_hub_url(repository.name, name, repo_type=repository.kind, revision=revision, endpoint=endpoint)
    told, token = _first_without_token(lambda token: hub.get_hf_file_metadata(url, token=token, timeout=LOOK_SECONDS))
    if told.commit_hash is None:
        raise SourceError(
            f"{Address(endpoint)} answers, but not as a Hugging Face hub does (no X-Repo-Commit): check HF_ENDPOINT and"
            f" the proxy, or {repository.advice.instead}"
        )
    return _Looked(told.commit_hash, token, told.size or 0)


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


def check_file(file: Path, sha256: str | None) -> None:
    """Compares a file with its checksum, which names large files in the cache; raises ChecksumError."""
    # Only the first link's target has that name; it may itself link to a file shared between repositories.
    stored = file.parent / file.readlink() if file.is_symlink() else file
    wanted = sha256 or (stored.name if SHA256.fullmatch(stored.name) else None)
    if wanted is not None and file_sha256(file) != wanted:
        raise ChecksumError(
            f"{file.resolve()} in the hub's cache was changed or damaged: its sha256 is not {wanted}; remove that file"
            " and run again"
        )


def progress_bar(progress: Progress) -> Any:
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
def clear_errors(repository: Repository, *, file: str = "", hint: str = "") -> Iterator[None]:
    """Turns errors of the hub, the network and the cache into one sentence; `hint` ends it if waiting may help.

    file: what was asked for ("": what every repository of the kind needs).
    """
    import httpx2  # huggingface_hub's own client, whose errors it passes on
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    constants = hub_library().constants
    what = f"{words(repository)} cannot be fetched from {Address(constants.ENDPOINT)}"
    instead = repository.advice.instead
    later = hint or f"; run again, or {instead}"
    file = file or repository.advice.needed or "its list of files"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise SourceError(
            f"{words(repository)}: {file} is not in the hub's cache in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is"
            f" set: run once without it, or {instead}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        temporary = status in TEMPORARY_REFUSALS or status >= SERVER_ERRORS
        reason = f"it answered {status}{later}" if temporary else _refusal(error.response, file, repository.advice)
        raise SourceError(f"{what}: {reason}", temporary=temporary) from error
    except (httpx2.HTTPError, LocalEntryNotFoundError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
        reason = str(cause) or type(cause).__name__
        raise SourceError(f"{what}: the connection failed ({reason}){later}", temporary=True) from error
    except (httpx2.InvalidURL, UnicodeError) as error:  # a host that cannot be one
        raise SourceError(f"{what}, which is no address ({error}): correct HF_ENDPOINT") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        if error.errno is None:  # huggingface_hub's own: fewer or more bytes than announced
            raise SourceError(f"{what}: not all of {file} came{later}", temporary=True) from error
        raise StoreError(
            f"The hub's cache in {constants.HF_HUB_CACHE} cannot be used ({error.strerror}): set HF_HOME to a folder"
            " that can be written"
        ) from error


def _refusal(answer: httpx2.Response, file: str, advice: Advice) -> str:
    """Explains why the hub refused and what to do."""
    status, code = answer.status_code, answer.headers.get("X-Error-Code")
    if code == "EntryNotFound":
        return f"it has no {file}; {advice.without if file == advice.needed else advice.another}"
    if code == "RevisionNotFound":
        return f"there is no such revision; check {advice.revision}"
    if code == "GatedRepo":
        return "it is gated; accept its conditions on its page, and set HF_TOKEN to a token of that account"
    if answer.headers.get("X-Error-Message") == INVALID_TOKEN:
        return "the token in HF_TOKEN is not valid; set another, or none if the repository is public"
    if status in (401, 404):
        return (
            "there is no such repository, or only for those who may read it (and no such folder here); check"
            f" {advice.field}, or set HF_TOKEN to a token that may read it"
        )
    if status == 403:
        return "the token in HF_TOKEN may not read it; set one that may"
    return f"it answered {status}; {advice.instead}"


def words(repository: Repository) -> str:
    """Names a repository and its revision."""
    return f"{repository.name} at {repository.wanted}"
