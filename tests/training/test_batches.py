"""How rows of a table become a batch."""

import numpy as np
import pytest
import torch

from nav_offrl.training.batches import rows_of


@pytest.mark.parametrize("shape", [(9,), (9, 4), (9, 2, 3)])
def test_rows_come_in_the_order_asked_for_and_as_often(shape: tuple[int, ...]) -> None:
    table, steps = torch.arange(np.prod(shape)).reshape(shape), np.array([8, 0, 3, 3])
    rows = rows_of(table)(steps)
    assert torch.equal(rows, torch.stack([table[int(step)] for step in steps]))
    rows.zero_()
    assert table[8].any(), "a batch is no view of the table"
