"""Pushes a saved model's folder to a repository on a Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.data.source.hub import INVALID_TOKEN, hub_library, is_repository
from lib.errors import ServiceError, WeightsError
from lib.model.weights.folder import CONFIG, GENERATION, INDEX, network_files
from lib.model.weights.saved import INFERENCE
from lib.secrets import Address, revealed
from lib.text.tokenizer_folder import FILES

if TYPE_CHECKING:
    import httpx2


LABELS, README = "labels.json", "README.md"


@dataclass(frozen=True)
class Pushed:
    """A repository's address, its commit, and whether the push made it (rather than finding all files there)."""

    url: str
    commit: str
    new: bool
    private: bool


def files_to_push(folder: Path) -> list[Path]:
    """Returns what a user of the model needs: config, weights, tokenizer, labels, and how it is to be used. Nothing
    else of the folder leaves this machine. Raises `WeightsError` if it is no folder of a model."""
    small = {CONFIG, GENERATION, INDEX, INFERENCE, LABELS, *FILES}
    return sorted({*network_files(folder), *(folder / name for name in small if (folder / name).is_file())})


def push(folder: Path, name: str, *, readme: str, public: bool, message: str) -> Pushed:
    """Uploads `files_to_push` and README.md in one commit, with the token in HF_TOKEN, to the hub in HF_ENDPOINT.

    A repository that does not exist is created, private unless `public`. One that has all of it already gets no commit.
    Raises WeightsError if `name` or `folder` cannot be pushed, and ServiceError if the hub refuses or does not answer.
    """
    if not is_repository(name):
        raise WeightsError(f"{name!r} cannot be a repository's name: give OWNER/NAME of letters, digits, '-', '_', '.'")
    files = files_to_push(folder)
    hub = hub_library()
    endpoint, token = Address(hub.constants.ENDPOINT), hub.get_token()
    if not token:
        raise ServiceError(f"{endpoint} needs to know who pushes: set HF_TOKEN to a token of yours that may write")
    api = hub.HfApi(endpoint=revealed(endpoint), token=token)
    added = [hub.CommitOperationAdd(README, readme.encode())]
    added += [hub.CommitOperationAdd(file.name, str(file)) for file in files]
    with _clear_errors(name, endpoint), _quiet():
        url = Address(api.create_repo(name, private=not public, exist_ok=True))
        before = api.model_info(name)
        if not before.private and not public:
            raise ServiceError(f"{name} on {endpoint} is public: push with --public, or to another name")
        made = api.create_commit(name, added, commit_message=message)
    return Pushed(f"{url}", made.oid, new=made.oid != before.sha, private=bool(before.private))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps huggingface_hub's bars and remarks out of the terminal."""
    utils = hub_library().utils
    level, bars = utils.logging.get_verbosity(), not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if bars:
            utils.enable_progress_bars()


@contextmanager
def _clear_errors(name: str, endpoint: str) -> Iterator[None]:
    """Turns errors of the hub and the network into one sentence without the token."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    what = f"{name} cannot be pushed to {endpoint}"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise ServiceError(f"{what}: HF_HUB_OFFLINE is set; push without it") from error
    except HfHubHTTPError as error:
        raise ServiceError(f"{what}: {_refusal(error.response)}") from error
    except (httpx2.InvalidURL, UnicodeError) as error:  # a host that cannot be one
        raise ServiceError(f"{what}, which is no address ({error}): correct HF_ENDPOINT") from error
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ServiceError(f"{what}: the connection failed ({reason}); check HF_ENDPOINT, or push again") from error


def _refusal(answer: httpx2.Response) -> str:
    status = answer.status_code
    if status == 401 or answer.headers.get("X-Error-Message") == INVALID_TOKEN:
        return "the token in HF_TOKEN is not valid; set another"
    if status in (403, 404):
        return "the token in HF_TOKEN may not write there; set one that may, or push to a name of your own"
    return f"it answered {status}; push again later"
