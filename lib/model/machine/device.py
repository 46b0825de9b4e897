"""Which device a recipe means. What keys of cached steps depend on is told without torch."""

import ctypes

from lib.errors import RecipeError


def has_cuda() -> bool:
    """Whether NVIDIA's driver is here and shows at least one device (`CUDA_VISIBLE_DEVICES` counts).

    Asks the driver itself (cuInit and cuDeviceGetCount of its API, which return 0 for success).
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def feature_dtype(setting: str, *, precision: str, device: str) -> str:
    """What the recipe's `training.feature_dtype` comes to: `auto` is bfloat16 on a GPU or with that precision."""
    if setting != "auto":
        return setting
    on_gpu = device == "cuda" or (device == "auto" and has_cuda())
    return "bfloat16" if on_gpu or precision == "bfloat16" else "float32"


def device_name(device: str) -> str:
    """Torch's name for the recipe's `training.device`: auto is a CUDA device where there is one.

    Raises `RecipeError` if a CUDA device is asked for and there is none.
    """
    import torch  # not where a run is only planned

    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("training.device is cuda, but this machine has no CUDA device: use auto or cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
