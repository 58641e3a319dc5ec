"""Shortest paths over the free cells of a world."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

FloatArray = NDArray[np.float64]

# Steps to the sixteen neighbours (half of them, the graph is undirected) with the cells that the
# step passes. Knight's moves cut the error of grid distances from 8 % to under 3 %.
_STEPS: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...] = (
    (0, 1, ()),
    (1, 0, ()),
    (1, 1, ((0, 1), (1, 0))),
    (1, -1, ((0, -1), (1, 0))),
    (1, 2, ((0, 1), (1, 1))),
    (2, 1, ((1, 0), (1, 1))),
    (1, -2, ((0, -1), (1, -1))),
    (2, -1, ((1, 0), (1, -1))),
)


def largest_component(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 4-connected part of `free`, (rows, columns)."""
    labels, count = ndimage.label(free)
    if count == 0:
        return free
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    component: NDArray[np.bool_] = labels == int(np.argmax(sizes))
    return component


@dataclass(frozen=True)
class CellGraph:
    """The free cells and the cost of stepping between neighbours."""

    index: NDArray[np.int64]  # (rows, columns), -1 where not free
    cells: NDArray[np.int64]  # (free cells, 2) row and column
    graph: sparse.csr_matrix

    @staticmethod
    def build(
        free: NDArray[np.bool_], cell: float, weight: FloatArray | None = None
    ) -> "CellGraph":
        """Connect the `free` cells of side `cell` (m); `weight` multiplies lengths per cell."""
        cells = np.argwhere(free)
        index = np.full(free.shape, -1, dtype=np.int64)
        index[free] = np.arange(len(cells))
        padded = np.pad(index, 2, constant_values=-1)
        sources, targets, costs = [], [], []
        for row_step, column_step, passed in _STEPS:
            target = padded[cells[:, 0] + row_step + 2, cells[:, 1] + column_step + 2]
            valid = target >= 0
            for row, column in passed:
                valid &= padded[cells[:, 0] + row + 2, cells[:, 1] + column + 2] >= 0
            source = np.flatnonzero(valid)
            length = np.full(len(source), cell * np.hypot(row_step, column_step))
            if weight is not None:
                flat = weight[free]
                length *= (flat[source] + flat[target[valid]]) / 2
            sources.append(source)
            targets.append(target[valid])
            costs.append(length)
        pairs = (np.concatenate(sources), np.concatenate(targets))
        shape = (len(cells), len(cells))
        half = sparse.csr_matrix((np.concatenate(costs), pairs), shape=shape)
        return CellGraph(index, cells, (half + half.T).tocsr())

    def field(self, row: int, column: int) -> FloatArray:
        """Cost from every cell to (row, column), (rows, columns); inf where there is no way."""
        start = int(self.index[row, column])
        costs = csgraph.dijkstra(self.graph, directed=True, indices=start)
        field: FloatArray = np.full(self.index.shape, np.inf)
        field[self.cells[:, 0], self.cells[:, 1]] = costs
        return field
