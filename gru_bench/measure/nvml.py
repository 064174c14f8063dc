"""NVML through its C interface, which NVIDIA's driver brings along.

Its package for Python would be one more dependency for three numbers.
"""

import ctypes
from typing import Any

NVML = "libnvidia-ml.so.1"


def open_card(uuid: str, library: str = NVML) -> tuple[Any, ctypes.c_void_p] | None:
    """The library, and its handle of a card; None where there is no driver, or it does not know the card.

    Args:
        uuid: As torch gives it.
        library: Name of the driver's library.
    """
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return None
    handle = ctypes.c_void_p()
    name = f"GPU-{uuid.removeprefix('GPU-')}".encode()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)):
        return None
    return nvml, handle
