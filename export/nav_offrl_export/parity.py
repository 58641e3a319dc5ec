"""ONNX Runtime against torch on real frames, and how long a graph takes."""

import platform
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime.contract import (
    ActionContract,
    GraphLatency,
    LatencyReport,
    ParityReport,
)
from nav_offrl.runtime.session import GraphSession, SessionConfig
from nav_offrl_export.modules import Modules

BATCH_SIZES = (1, 2, 7)
# The encoder rounds the resized frame to whole grey levels. A sum on the edge may be rounded apart
# by two runtimes, one grey level in one pixel: harmless, and more than the tolerance of one frame.
ROUNDED_SHARE = 0.9
ROUNDED_ALLOWANCE = 10.0
SMALLEST_SCALE = 1e-3  # outputs all but zero are compared absolutely

Arrays = dict[str, NDArray[np.generic]]
Images = NDArray[np.uint8]


def check_parity(
    modules: Modules,
    sessions: Mapping[str, GraphSession],
    images: Images,
    action: ActionContract,
    tolerance: float,
) -> ParityReport:
    """Compare every graph with its module on (N, H, W, 3) frames at batch 1, 2 and 7.

    Raises:
        NavOffrlError: a difference exceeds `tolerance` times the output's scale (of the encoder:
            on more than a tenth of the frames, or tenfold on any), an output is not finite, or
            the policy leaves the limits of `action`.
    """
    errors: dict[str, float] = {}
    frames = images[np.arange(max(len(images), max(BATCH_SIZES))) % len(images)]
    for name, module in modules.items():
        differences, scale = [], SMALLEST_SCALE
        for size in BATCH_SIZES:
            for start in range(0, len(frames) - size + 1, size):
                inputs = graph_inputs(modules, name, frames[start : start + size])
                expected = run_torch(module, inputs)
                found = sessions[name].run(inputs)
                _check_output(name, expected, size, action)
                if found.shape != expected.shape:
                    raise NavOffrlError(f"gives {found.shape}, torch {expected.shape}", where=name)
                differences.extend(np.abs(found - expected).reshape(size, -1).max(axis=1))
                scale = max(scale, float(np.abs(expected).max()))
        errors[name] = float(max(differences)) / scale
        _check_errors(name, np.asarray(differences) / scale, tolerance)
    return ParityReport(
        tolerance=tolerance, batch_sizes=BATCH_SIZES, frames=len(images), relative_error=errors
    )


def _check_errors(name: str, errors: NDArray[np.floating], tolerance: float) -> None:
    """Judge the relative error of each frame; see `ROUNDED_SHARE` about the encoder."""
    judged, largest = float(errors.max()), tolerance
    if name == "encoder" and np.quantile(errors, ROUNDED_SHARE) <= tolerance:
        largest = ROUNDED_ALLOWANCE * tolerance
    if not judged <= largest:
        raise NavOffrlError(
            f"ONNX Runtime differs from torch by {judged:.1e} of the output's scale, "
            f"{largest:.1e} is allowed",
            where=name,
            remedy="report this as a bug, with the versions of torch and onnxruntime",
        )


def graph_inputs(modules: Modules, name: str, frames: Images) -> Arrays:
    """Inputs of graph `name` for (B, H, W, 3) frames; the goals are the same frames, rotated."""
    if name == "encoder":
        return {"image": frames}
    latent = run_torch(modules.encoder, {"image": frames})
    return {"latent": latent, "goal_latent": np.roll(latent, 1, axis=0)}


def run_torch(module: torch.nn.Module, inputs: Arrays) -> NDArray[np.float32]:
    """Run a module on arrays, without gradients."""
    with torch.inference_mode():
        output = module(*(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs.values()))
    array: NDArray[np.float32] = output.numpy()
    return array


def _check_output(
    name: str, output: NDArray[np.float32], size: int, action: ActionContract
) -> None:
    if output.dtype != np.float32 or output.shape[:1] != (size,):
        raise NavOffrlError(
            f"gives {output.dtype} {output.shape} for a batch of {size}; float32 is required",
            where=name,
        )
    if not np.isfinite(output).all():
        raise NavOffrlError(
            "gives values that are not finite on real frames",
            where=name,
            remedy="training diverged; export an earlier checkpoint or train again",
        )
    if name == "policy":
        low, high = np.asarray(action.low), np.asarray(action.high)
        slack = 1e-5 * (high - low)
        if (output < low - slack).any() or (output > high + slack).any():
            raise NavOffrlError(
                f"gives commands from {output.min(axis=0)} to {output.max(axis=0)}, "
                f"beyond the limits {action.low} to {action.high}",
                where=name,
            )


def measure_latency(
    sessions: Mapping[str, GraphSession],
    modules: Modules,
    frame: Images,
    config: SessionConfig,
    runs: int,
) -> LatencyReport:
    """Time each graph `runs` times on one (1, H, W, 3) frame on this machine."""
    graphs = {}
    for name, session in sessions.items():
        inputs = graph_inputs(modules, name, frame)
        for _ in range(5):
            session.run(inputs)
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            session.run(inputs)
            times.append(1000.0 * (time.perf_counter() - started))
        p50, p99 = np.percentile(times, (50, 99))
        graphs[name] = GraphLatency(p50_ms=round(float(p50), 4), p99_ms=round(float(p99), 4))
    return LatencyReport(
        machine=_machine(),
        provider=sessions["encoder"].provider,
        intra_op_threads=config.intra_op_threads,
        runs=runs,
        graphs=graphs,
    )


def _machine() -> str:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return f"{processor}, {platform.system()}"
