"""Whatever is wrong with a run, no step goes missing uncounted and no piece bridges a fault."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.cutting import cut
from nav_offrl_datasets.importing.run import Run

PERIOD = 100_000_000  # ns

steps_of_time = st.lists(
    st.sampled_from([0, PERIOD, PERIOD, PERIOD, 2 * PERIOD, 3 * PERIOD, -5 * PERIOD, -(2**62)]),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps_of_time, st.data())
def test_whatever_the_faults_every_step_is_kept_or_counted(periods: list[int], data: Any) -> None:
    steps = len(periods) + 1
    any_step = st.integers(0, steps - 1)
    faults = {step: "fault" for step in data.draw(st.sets(any_step, max_size=5))}
    position = np.stack([0.05 * np.arange(steps), np.zeros(steps)], axis=1)
    run = Run("run", np.arange(steps), {"position": position, "yaw": np.zeros(steps)})
    run.time = np.cumsum([0, *periods]).astype(np.int64)
    run.fields["position"][data.draw(any_step) :] += data.draw(st.sampled_from([0.0, 3.0]))
    run.breaks = tuple(data.draw(st.sets(any_step, max_size=3)))
    config = ImportConfig(
        end_slack=data.draw(st.integers(0, 3)), keep_stale=data.draw(st.booleans())
    )
    result = cut(run, faults, 10.0, config)
    kept = [step for piece in result.pieces for step in piece.tolist()]
    assert kept == sorted(set(kept)) and not set(kept) & set(faults)
    assert len(kept) + sum(result.dropped.values()) == steps
    for piece in result.pieces:
        assert len(piece) and (np.diff(run.time[piece]) > 0).all()
        assert not set(range(piece[0], piece[-1] + 1)) & set(faults)
        assert not set(range(piece[0] + 1, piece[-1] + 1)) & set(run.breaks)
