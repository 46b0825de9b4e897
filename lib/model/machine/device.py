"""Resolves a recipe's device and dtype settings, without torch where cache keys depend on them."""

import ctypes
from importlib import metadata

from lib.errors import RecipeError


def has_cuda() -> bool:
    """Whether torch was built for CUDA and NVIDIA's driver shows a device (`CUDA_VISIBLE_DEVICES` counts). Asks the
    driver itself (cuInit and cuDeviceGetCount, which return 0 for success)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    shown = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return shown and not metadata.version("torch").endswith("+cpu")


def device_here(setting: str) -> str:
    """Resolves `training.device` in this process without torch: `auto` is `cuda` or `cpu`."""
    return ("cuda" if has_cuda() else "cpu") if setting == "auto" else setting


def feature_dtype(setting: str, *, precision: str, device: str) -> str:
    """Resolves `training.feature_dtype`: `auto` is bfloat16 on a GPU (`device_here`) or with that precision."""
    if setting != "auto":
        return setting
    return "bfloat16" if device == "cuda" or precision == "bfloat16" else "float32"


def device_name(device: str) -> str:
    """Returns torch's name for `training.device`; raises `RecipeError` for CUDA without a CUDA device."""
    import torch  # planning a run does not need it

    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError(
            "training.device is cuda, or auto where NVIDIA's driver shows a card, but torch has no CUDA device here:"
            " use cpu"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
