"""Memory that is freed and wanted again in every step."""

import ctypes
import functools
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, for the next step; returns whether it does.

    Activations of more than 128 KiB else go back to the system and come again as pages of zeros,
    one fault each 4 KiB: a third of the time of an update with large activations. The price is
    that the process stays as large as it once was. Only glibc can be told; elsewhere nothing
    happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
