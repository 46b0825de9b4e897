"""Which device a recipe means. What keys of cached steps depend on is told without torch."""

import ctypes
from importlib import metadata

from lib.errors import RecipeError


def has_cuda() -> bool:
    """Whether NVIDIA's driver is here and shows at least one device (`CUDA_VISIBLE_DEVICES` counts), and torch was
    built for it.

    Asks the driver itself (cuInit and cuDeviceGetCount of its API, which return 0 for success).
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    shown = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return shown and not metadata.version("torch").endswith("+cpu")


def device_here(setting: str) -> str:
    """What the recipe's `training.device` comes to in this process, without torch: `auto` is `cuda` or `cpu`."""
    return ("cuda" if has_cuda() else "cpu") if setting == "auto" else setting


def feature_dtype(setting: str, *, precision: str, device: str) -> str:
    """What the recipe's `training.feature_dtype` comes to: `auto` is bfloat16 on a GPU or with that precision. device:
    as `device_here` tells it."""
    if setting != "auto":
        return setting
    return "bfloat16" if device == "cuda" or precision == "bfloat16" else "float32"


def device_name(device: str) -> str:
    """Torch's name for the recipe's `training.device`: auto is a CUDA device where there is one. Raises `RecipeError`
    if a CUDA device is asked for and there is none."""
    import torch  # not where a run is only planned

    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError(
            "training.device is cuda, or auto where NVIDIA's driver shows a card, but torch has no CUDA device here:"
            " use cpu"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
