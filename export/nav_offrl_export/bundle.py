"""Write a bundle whole, checked, or not at all."""

import datetime
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import nav_offrl
from nav_offrl.config import parse_config
from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime.bundle import load_bundle
from nav_offrl.runtime.contract import (
    CONTRACT_FILE,
    ActionContract,
    BundleContract,
    CameraContract,
    GraphContract,
    expected_tensors,
)
from nav_offrl.runtime.session import GraphSession, SessionConfig
from nav_offrl_export.graphs import OPSET, frozen_copy, to_onnx
from nav_offrl_export.model_card import model_card
from nav_offrl_export.modules import Modules
from nav_offrl_export.parity import check_parity, measure_latency

MODEL_CARD_FILE = "model_card.md"


def export_bundle(
    modules: Modules,
    contract_fields: Mapping[str, Any],
    output: Path,
    images: NDArray[np.uint8],
    *,
    overwrite: bool = False,
    tolerance: float = 1e-4,
    latency_runs: int = 100,
    progress: bool = True,
) -> BundleContract:
    """Trace, compare, time and write; the folder appears only when everything held.

    Args:
        modules: trained modules; they are copied, not changed.
        contract_fields: fields of `BundleContract` without graphs, parity and latency.
        output: folder to make.
        images: (N, H, W, 3) uint8 RGB real frames at the camera's size, for the comparison.
        overwrite: replace an existing bundle.
        tolerance: largest error relative to an output's scale.
        latency_runs: runs timed for each graph.
        progress: show a bar on stderr.

    Raises:
        NavOffrlError: `output` exists, a field or frame does not fit, weights are not finite,
            or ONNX Runtime disagrees with torch. Nothing is written then.
    """
    output = Path(output)
    _refuse_existing(output, overwrite)
    camera = parse_config(CameraContract, contract_fields.get("camera"), "camera")
    action = parse_config(ActionContract, contract_fields.get("action"), "action")
    _check_images(images, camera)
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
    try:
        with tqdm(total=5, desc="export", disable=not progress) as bar:
            modules = Modules(**{name: frozen_copy(m, name) for name, m in modules.items()})
            size = contract_fields.get("embedding_size")
            graphs = _write_graphs(modules, camera, size, images, folder, bar)
            config = SessionConfig()
            sessions = {
                name: GraphSession((folder / graph.file).read_bytes(), graph.file, config)
                for name, graph in graphs.items()
            }
            parity = check_parity(modules, sessions, images, action, tolerance)
            bar.update()
            latency = measure_latency(sessions, modules, images[:1], config, latency_runs)
            provenance = {**contract_fields.get("provenance", {}), **_versions()}
            values = {
                **contract_fields,
                "provenance": provenance,
                "graphs": {name: graph.model_dump() for name, graph in graphs.items()},
                "parity": parity.model_dump(),
                "latency": latency.model_dump(),
            }
            contract = parse_config(BundleContract, values, CONTRACT_FILE)
            _write_papers(contract, folder)
            load_bundle(folder, session=config)  # what the robot will do with it
            bar.update()
        _move_into_place(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return contract


def _refuse_existing(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise NavOffrlError(
            "exists already", where=output, remedy="choose another name, or allow overwriting"
        )
    if not (output / CONTRACT_FILE).is_file():
        raise NavOffrlError(
            "exists and is not a bundle, so it is not overwritten",
            where=output,
            remedy="choose another name",
        )


def _check_images(images: NDArray[np.uint8], camera: CameraContract) -> None:
    wanted = (camera.height, camera.width, 3)
    if images.dtype != np.uint8 or images.shape[1:] != wanted or len(images) == 0:
        raise NavOffrlError(
            f"frames are {images.dtype} {images.shape}; uint8 (N, {', '.join(map(str, wanted))}) "
            "with N > 0 are needed to compare ONNX Runtime with torch",
            where="images",
            remedy="give frames of the camera's size",
        )


def _write_graphs(
    modules: Modules,
    camera: CameraContract,
    size: Any,
    images: NDArray[np.uint8],
    folder: Path,
    bar: "tqdm[Any]",
) -> dict[str, GraphContract]:
    """Trace each module at batch 2 and write its file."""
    if not isinstance(size, int) or size < 1:
        raise NavOffrlError(f"must be a number above 0, found {size!r}", where="embedding_size")
    latent = torch.zeros(2, size)
    example = {
        "image": torch.from_numpy(np.ascontiguousarray(images[[0, -1]])),
        "latent": latent,
        "goal_latent": latent + 0.5,  # its own tensor: the tracer merges aliased inputs
    }
    graphs = {}
    tensors = expected_tensors(camera, size)
    for name, module in modules.items():
        inputs, outputs = tensors[name]
        data = to_onnx(module, name, {key: example[key] for key in inputs}, next(iter(outputs)))
        (folder / f"{name}.onnx").write_bytes(data)
        graphs[name] = GraphContract(
            file=f"{name}.onnx",
            sha256=hashlib.sha256(data).hexdigest(),
            inputs=inputs,
            outputs=outputs,
        )
        bar.update()
    return graphs


def _versions() -> dict[str, str | int]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "exported_at": now.isoformat(timespec="seconds"),
        "nav_offrl_version": nav_offrl.__version__,
        "torch_version": torch.__version__,
        "onnx_version": onnx.__version__,
        "onnxruntime_version": onnxruntime.__version__,
        "opset": OPSET,
    }


def _write_papers(contract: BundleContract, folder: Path) -> None:
    text = contract.model_dump_json(indent=2) + "\n"
    (folder / CONTRACT_FILE).write_text(text, encoding="utf-8")
    (folder / MODEL_CARD_FILE).write_text(model_card(contract), encoding="utf-8")


def _move_into_place(folder: Path, output: Path) -> None:
    folder.chmod(0o755)  # mkdtemp's 0o700 would lock out the robot's own user
    if not output.exists():
        folder.rename(output)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old-", dir=output.parent))
    output.rename(old / "bundle")
    folder.rename(output)
    shutil.rmtree(old)
