"""Files out of the page cache and back in, and a look at what is there."""

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]


def files_of(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file())


def drop(place: Path) -> None:
    """Ask the kernel to forget the pages of all files; pages that are mapped anywhere stay."""
    for path in files_of(place):
        descriptor = os.open(path, os.O_RDONLY)
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def warm(place: Path) -> None:
    """Read all files once."""
    for path in files_of(place):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def share_cached(place: Path) -> float:
    """Return the share of the files' pages that lie in memory."""
    cached = pages = 0
    for path in files_of(place):
        size = path.stat().st_size
        if not size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
            count = -(-size // mmap.PAGESIZE)
            vector = np.zeros(count, np.uint8)
            view = np.frombuffer(mapped, np.uint8)
            if _libc.mincore(view.ctypes.data, size, vector.ctypes.data):
                raise OSError(ctypes.get_errno(), "mincore")
            cached, pages = cached + int((vector & 1).sum()), pages + count
            del view
    return cached / max(1, pages)
