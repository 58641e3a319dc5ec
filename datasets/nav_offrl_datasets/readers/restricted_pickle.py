"""Reads foreign pickles without running anything that they name.

Pickle is a program: a hostile file may call `os.system`. Here a global is only ever looked up in
a short list of names that NumPy writes, and even those are not given to the pickle machine: it
gets stand-ins that note shape, dtype and raw bytes, and arrays are built from these afterwards.
"""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError

MAX_FILE_BYTES = 64 << 20
MAX_DEPTH = 32

# Instructions that no pickle of arrays and plain containers needs: other ways to make objects,
# references out of the file, and copies that let a short file unfold into a long computation.
_REFUSED_OPCODES = {
    *("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"),
    *("PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"),
    *("DUP", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
}
_CORES = ("numpy.core", "numpy._core")  # NumPy 1 and 2
_KIND_OF_GLOBAL = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{(f"{core}.multiarray", "_reconstruct"): "reconstruct" for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): "scalar" for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): "frombuffer" for core in _CORES},
}
_DTYPES = {"b1", "O", "O8", *(f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8))} - {"f1"}


def load_plain(path: Path) -> Any:
    """Return the content of a pickle: dict, list, tuple, str, bytes, numbers, NumPy arrays.

    Raises:
        NavOffrlError: the file is too large, truncated, malformed, or names anything else.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise NavOffrlError(
                f"is {size >> 20} MiB; poses need less than {MAX_FILE_BYTES >> 20} MiB",
                where=path,
                remedy="check that it is a pickle of poses only",
            )
        content = path.read_bytes()
    except OSError as error:
        raise NavOffrlError(f"cannot be read ({error.strerror})", where=path) from error
    try:
        return loads_plain(content)
    except NavOffrlError as error:
        raise NavOffrlError(error.what, where=path, remedy=error.remedy) from error


def loads_plain(content: bytes) -> Any:
    """Return the content of a pickle held in memory; see `load_plain`."""
    try:
        _check_opcodes(content)
        return _Resolver().resolve(_Unpickler(io.BytesIO(content), encoding="latin1").load())
    except NavOffrlError:
        raise
    # A damaged pickle makes the machine fail with nearly any exception; all mean the same.
    except Exception as error:
        raise NavOffrlError(
            f"is no readable pickle ({type(error).__name__}: {str(error)[:100]})",
            remedy="copy the file again",
        ) from error


def _refuse(what: str) -> NavOffrlError:
    return NavOffrlError(
        f"refused: the pickle {what}; only NumPy arrays and plain containers are read",
        remedy="do not trust this file; ask its author for plain arrays",
    )


def _check_opcodes(content: bytes) -> None:
    """Walk the program without running it: opcodes, declared sizes, memo slots.

    `genops` itself raises on a size that exceeds the file. A huge memo slot would make the
    machine allocate a table up to it.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name in _REFUSED_OPCODES:
            raise _refuse(f"uses the instruction {opcode.name}")
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            _kind_of(module, name)
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(str(argument)) > count:
            raise _refuse(f"declares memo slot {argument}")


def _kind_of(module: str, name: str) -> str:
    kind = _KIND_OF_GLOBAL.get((module, name))
    if kind is None:
        raise _refuse(f"names '{module}.{name}'"[:120])
    return kind


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> "_Global":
        return _Global(_kind_of(module, name))

    def persistent_load(self, identity: Any) -> Any:
        raise _refuse("refers to an object outside itself")


class _Dtype:
    """What a pickle says about a dtype, checked by name."""

    __slots__ = ("value",)

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or text not in _DTYPES:
            raise _refuse(f"has arrays of dtype {str(name)[:40]!r}")
        self.value = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (">", b">"):
            self.value = self.value.newbyteorder(">")


class _Array:
    """What a pickle says about an array: shape, dtype, raw content."""

    __slots__ = ("dtype", "fortran", "raw", "shape")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self._fill(shape, dtype, bool(fortran), raw)

    def _fill(self, shape: Any, dtype: Any, fortran: bool, raw: Any) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or len(shape) > 8:
            raise ValueError("malformed array")
        if not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError("malformed array shape")
        if isinstance(raw, str):  # bytes of Python 2
            raw = raw.encode("latin1")
        objects = dtype.value.hasobject
        if not isinstance(raw, list if objects else (bytes, bytearray)):
            raise ValueError("malformed array content")
        if math.prod(shape) * (1 if objects else dtype.value.itemsize) != len(raw):
            raise ValueError(f"array of shape {str(shape)[:60]} does not fit its content")
        self.shape, self.dtype, self.fortran, self.raw = shape, dtype.value, fortran, raw


class _Global:
    """Stands in for an admitted global; the pickle can call it but not alter it."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        raise _refuse("alters a function")

    def __call__(self, *arguments: Any) -> Any:
        if self.kind == "reconstruct":  # always (ndarray, (0,), b"b"); the state follows
            return _Array()
        if self.kind == "dtype":
            return _Dtype(*arguments)
        if self.kind == "encode":
            return _encode(*arguments)
        array = _Array()
        if self.kind == "scalar":
            dtype, raw = arguments
            array._fill((), dtype, False, raw)
        elif self.kind == "frombuffer":
            raw, dtype, shape, order = arguments
            array._fill(shape, dtype, order == "F", raw)
        else:
            raise _refuse(f"calls '{self.kind}'")
        return array


def _encode(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _refuse(f"encodes text as {str(encoding)[:40]!r}")
    return text.encode("latin1")


class _Resolver:
    """Replaces stand-ins by arrays. Shared parts are built once; cycles and depth are refused."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def resolve(self, value: Any) -> Any:
        if not isinstance(value, (dict, list, tuple, _Array, _Dtype, _Global)):
            return value
        if isinstance(value, (_Dtype, _Global)):
            raise _refuse("holds a bare type")
        identity = id(value)
        if identity not in self._done:
            if identity in self._open or len(self._open) >= MAX_DEPTH:
                raise _refuse("contains itself or is nested too deep")
            self._open.add(identity)
            self._done[identity] = self._build(value)
            self._open.discard(identity)
        return self._done[identity]

    def _build(self, value: Any) -> Any:
        if isinstance(value, dict):
            if not all(isinstance(key, (str, int)) for key in value):
                raise _refuse("has dictionary keys other than text and integers")
            return {key: self.resolve(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.resolve(item) for item in value)
        return self._build_array(value)

    def _build_array(self, array: _Array) -> NDArray[Any]:
        if not hasattr(array, "raw"):
            raise ValueError("array without content")
        if isinstance(array.raw, list):
            flat = np.empty(len(array.raw), object)
            for index, item in enumerate(array.raw):
                flat[index] = self.resolve(item)
        else:
            flat = np.frombuffer(array.raw, array.dtype)
        return flat.reshape(array.shape, order="F" if array.fortran else "C").copy()
