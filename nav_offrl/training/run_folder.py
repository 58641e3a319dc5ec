"""A run on disk: configuration, provenance, metrics, checkpoints. Nothing in it is a pickle.

run/
  config.yaml  provenance.json  metrics.jsonl  tensorboard/
  checkpoints/last            the name of the newest complete checkpoint
  checkpoints/policy_005000/  weights.safetensors  optimizer.safetensors  state.json
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nav_offrl.config import dump_yaml, load_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl.training.config import TrainConfig

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Checkpoint:
    """A complete state of training after `step` gradient steps of `phase`."""

    phase: str
    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    extra: dict[str, Any]


class RunFolder:
    """Reads and writes one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: TrainConfig, provenance: Mapping[str, Any]) -> "RunFolder":
        """Make a new run folder.

        Raises:
            NavOffrlError: it exists already or cannot be written.
        """
        if path.exists():
            raise NavOffrlError(
                "exists already", where=path, remedy="add --resume to continue it, or rename it"
            )
        try:
            (path / "checkpoints").mkdir(parents=True)
            dump_yaml(config, path / "config.yaml")
            text = json.dumps(dict(provenance), indent=2)
            (path / "provenance.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise NavOffrlError(
                f"cannot be written ({error.strerror})", where=path, remedy="check the folder"
            ) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run.

        Raises:
            NavOffrlError: `path` is no run folder.
        """
        if not (path / "config.yaml").is_file():
            raise NavOffrlError(
                "is no run folder (no config.yaml)",
                where=path,
                remedy="give the folder that 'nav-offrl train --output' made",
            )
        return cls(path)

    @property
    def config(self) -> TrainConfig:
        """The configuration that the run was started with."""
        return load_yaml(TrainConfig, self.path / "config.yaml")

    @property
    def provenance(self) -> dict[str, Any]:
        """Version, data and machine that the run was started with."""
        path = self.path / "provenance.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise NavOffrlError(f"cannot be read ({error})", where=path) from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint whole, then point `last` at it, then drop the oldest."""
        folder = self.path / "checkpoints"
        name = f"{checkpoint.phase}_{checkpoint.step:06d}"
        state = {"phase": checkpoint.phase, "step": checkpoint.step, **checkpoint.extra}
        text = json.dumps(state)
        if self._newest() == folder / name and _holds(folder / name / "state.json", text):
            return  # Written already; to write it again would risk the only good copy.
        partial = folder / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            save_file(_copies(checkpoint.weights), partial / "weights.safetensors")
            save_file(_copies(checkpoint.optimizer), partial / "optimizer.safetensors")
            (partial / "state.json").write_text(text, encoding="utf-8")
            shutil.rmtree(folder / name, ignore_errors=True)
            partial.rename(folder / name)
            _replace_text(folder / "last", name)
        except OSError as error:
            raise NavOffrlError(
                f"the checkpoint cannot be written ({error.strerror or error})",
                where=folder,
                remedy="free disk space, then continue with --resume",
            ) from error
        self._drop_old(name)

    def checkpoints(self, phase: str) -> dict[int, str]:
        """Return the names of the checkpoints of a phase by their step, in order."""
        whole = (self.path / "checkpoints").glob(f"{phase}_*/state.json")
        steps = {int(path.parent.name.rpartition("_")[2]): path.parent.name for path in whole}
        return dict(sorted(steps.items()))

    def _drop_old(self, newest: str) -> None:
        """Drop all checkpoints but the newest two and those to be kept."""
        folder, every = self.path / "checkpoints", self.config.keep_every
        others = [p for p in folder.iterdir() if (p / "state.json").is_file() and p.name != newest]
        in_time = sorted(others, key=lambda path: path.stat().st_mtime_ns)
        for old in in_time[: 1 - KEPT_CHECKPOINTS]:
            phase, _, step = old.name.rpartition("_")
            if not (every and phase == "policy" and int(step) and int(step) % every == 0):
                shutil.rmtree(old, ignore_errors=True)

    def _newest(self) -> Path | None:
        pointer = self.path / "checkpoints" / "last"
        if not pointer.is_file():
            return None
        return pointer.parent / pointer.read_text(encoding="utf-8").strip()

    def load(self, name: str | None = None) -> Checkpoint | None:
        """Return the newest complete checkpoint or that of a name, or None before the first.

        Raises:
            NavOffrlError: it is damaged, or has been dropped.
        """
        folder = self._newest() if name is None else self.path / "checkpoints" / name
        if folder is None:
            return None
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            weights = load_file(folder / "weights.safetensors")
            optimizer = load_file(folder / "optimizer.safetensors")
            phase, step = str(state.pop("phase")), int(state.pop("step"))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise NavOffrlError(
                f"the checkpoint is damaged ({error})",
                where=folder,
                remedy="write the name of another folder beside it into 'last', or train anew",
            ) from error
        return Checkpoint(phase, step, weights, optimizer, state)

    def trim_metrics(self, global_step: int) -> None:
        """Drop the metrics after `global_step`, so that a resumed run logs each step once."""
        path = self.path / "metrics.jsonl"
        if path.is_file():
            # A line without its end was being written when the power went.
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            kept = [line for line in whole if json.loads(line)["step"] <= global_step]
            _replace_text(path, "".join(kept))


def optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimizer's per-parameter tensors into names for safetensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{key}": value
        for index, entries in state.items()
        for key, value in entries.items()
    }


def restore_optimizer(
    prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` saved."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        head, index, key = name.rsplit(".", 2)
        if head == prefix:
            state.setdefault(int(index), {})[key] = value
    saved = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def load_weights(module: nn.Module, prefix: str, weights: Mapping[str, Tensor]) -> None:
    """Load the tensors named `prefix.*` into `module`.

    Raises:
        NavOffrlError: they do not fit the module.
    """
    own = {k[len(prefix) + 1 :]: v for k, v in weights.items() if k.startswith(prefix + ".")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise NavOffrlError(
            f"the checkpoint's '{prefix}' does not fit the configuration ({error})",
            where="config.yaml",
            remedy="it was changed after training began: restore it",
        ) from error


def named_weights(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return the state of `module` under `prefix.`."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
