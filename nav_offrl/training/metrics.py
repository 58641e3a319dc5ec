"""Metrics as JSON lines and TensorBoard events."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """Appends to `metrics.jsonl` and `tensorboard/` of a run; one line a logged step."""

    def __init__(self, run: Path) -> None:
        self._file = (run / "metrics.jsonl").open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(run / "tensorboard"))

    def write(self, step: int, metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Log the metrics of one step (over both phases); returns them as floats."""
        values = {name: float(value) for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        return values

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._writer.close()
