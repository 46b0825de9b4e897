"""Checks for the packages that only some runs need: each belongs to an extra, which is installed by its name.

pip install 'finetune-flows[lora]'
"""

from collections.abc import Iterable
from importlib.util import find_spec

from lib.errors import ExtraError

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # of the extra `onnx`


def installed(packages: Iterable[str]) -> bool:
    """Whether all of these can be imported; none is."""
    return all(find_spec(package) is not None for package in packages)


def require_onnx(purpose: str) -> None:
    """Raises ExtraError if a package of the extra `onnx` is missing; `purpose` as in `require`."""
    for package in ONNX_PACKAGES:
        require(package, "onnx", purpose)


def require(package: str, extra: str, purpose: str) -> None:
    """Raise ExtraError if `package` cannot be imported; `purpose` is the subject of its sentence.

    The package itself is not imported, so the check costs nothing where it passes.
    """
    if find_spec(package) is None:
        raise missing_package(package, extra, purpose)


def missing_package(package: str, extra: str, purpose: str) -> ExtraError:
    """Returns the error of a package that is missing; `purpose` as in `require`."""
    install = f"pip install 'finetune-flows[{extra}]'"
    return ExtraError(f"{purpose} needs the package {package}, which is not installed: run `{install}`")
