"""Which device a recipe means, as far as it can be told without torch: keys of cached steps depend on it.

The device's name in torch is `device_name` in `classifier.py`.
"""

import ctypes


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
