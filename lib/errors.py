"""Errors that the user can correct, one class for each kind of cause; the command line prints their one sentence."""

from collections.abc import Iterable

MOST_NAMES = 10  # in one sentence


def listed(names: Iterable[str], *, most: int = MOST_NAMES) -> str:
    """Joins names for a sentence: the first `most`, and the number of others."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class FinetuneError(Exception):
    """An error that the user can correct; `str(error)` is one sentence."""


class RecipeError(FinetuneError):
    """A recipe or an override: an unknown field, a wrong type, fields that contradict each other."""


class ExtraError(FinetuneError):
    """A package that only some runs need is not installed."""


class SourceError(FinetuneError):
    """The source file cannot be fetched: no such file, 404, a server that hangs or cuts the connection."""

    def __init__(self, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.temporary = temporary  # a retry may help


class ChecksumError(FinetuneError):
    """The fetched bytes are not the expected ones."""


class ArchiveError(FinetuneError):
    """An archive that cannot be unpacked safely: paths that escape, links, bombs, damage, no such member."""


class MessagesError(FinetuneError):
    """The contents of the source file: not UTF-8, empty, a missing column, an empty text."""


class LabelError(FinetuneError):
    """The labels: only one class, a class too small to split, labels that do not match the classifier's."""


class WeightsError(FinetuneError):
    """Pretrained weights: missing files, tensors missing, unexpected or of the wrong shape."""


class TrainingError(FinetuneError):
    """Training cannot continue: a loss that is not a finite number."""


class StoreError(FinetuneError):
    """The artifact store: no space left, no permission, an artifact that is missing or damaged."""


class JudgeError(FinetuneError):
    """The judge of answers: no server, no such model, a refused key, a server that keeps failing."""


class ServiceError(FinetuneError):
    """A Prefect or MLflow server that does not answer, or a registered model that is not there."""
