"""Reading `traj_data.pkl`: the poses of one GNM run, in whatever shape people saved them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.readers.restricted_pickle import load_plain

POSES = "traj_data.pkl"
MAX_VALUES = 20_000_000  # in one array of poses


def read_poses(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `position` (T, 2) m and `yaw` (T,) rad.

    Lists, and the object arrays of length-1 arrays seen in the wild, are accepted.

    Raises:
        NavOffrlError: the file is absent, unsafe, damaged, or of other shapes.
    """
    if not path.is_file():
        raise NavOffrlError(f"no {POSES}", where=path)
    content = load_plain(path)
    if not isinstance(content, dict) or not {"position", "yaw"} <= set(content):
        raise NavOffrlError(f"{POSES} holds no 'position' and 'yaw'", where=path)
    position = _as_floats(content["position"], "position", path)
    yaw = _as_floats(content["yaw"], "yaw", path)
    if yaw.ndim == 2 and yaw.shape[1] == 1:
        yaw = yaw[:, 0]
    if position.ndim != 2 or position.shape[1] != 2 or yaw.shape != position.shape[:1]:
        raise NavOffrlError(
            f"position has shape {position.shape} and yaw {yaw.shape}, expected (T, 2) and (T,)",
            where=path,
        )
    return position, yaw


def _as_floats(values: Any, name: str, path: Path) -> NDArray[np.float64]:
    try:
        if not isinstance(values, np.ndarray) or values.dtype == object:
            values = _as_rows(values)
        return np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise NavOffrlError(f"{name} is no array of numbers ({error})", where=path) from error


def _as_rows(values: Any) -> list[Any]:
    """Check that nested lists are numbers or rows of numbers, and few.

    A short pickle can name one list many times over, at every depth; NumPy would unfold it all.
    """
    rows = list(values)
    if sum(_length(row) for row in rows) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    for row in rows:
        if isinstance(row, (list, tuple)) and any(isinstance(item, (list, tuple)) for item in row):
            raise ValueError("nested more than two deep")
    return [np.asarray(row, np.float64) if isinstance(row, np.ndarray) else row for row in rows]


def _length(row: Any) -> int:
    if isinstance(row, np.ndarray):
        return row.size
    return len(row) if isinstance(row, (list, tuple)) else 1
