"""ONNX Runtime sessions whose provider is stated, not guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
Shape = tuple[int | str, ...]


class SessionConfig(Config):
    """Where and how a graph runs."""

    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="'gpu' refuses to load without one; 'auto' takes one if there is one",
    )
    intra_op_threads: int = Field(
        1, ge=1, le=256, description="CPU threads of one graph; 1 keeps the slowest runs short"
    )


def choose_providers(device: Literal["auto", "cpu", "gpu"]) -> list[str]:
    """Execution providers to ask for, best first.

    `get_available_providers()` lists what was compiled in, on any machine; `get_ep_devices()`
    lists what has a device. It may miss a GPU inside a container, so 'gpu' tries CUDA anyway and
    the session's own answer decides (`GraphSession`).
    """
    if device == "cpu":
        return [CPU]
    present = {found.ep_name for found in ort.get_ep_devices()}
    return [CUDA, CPU] if device == "gpu" or CUDA in present else [CPU]


class GraphSession:
    """One loaded graph; `provider` is the execution provider really in use."""

    def __init__(self, model: bytes, where: str | Path, config: SessionConfig) -> None:
        """Load an ONNX model from its bytes.

        Raises:
            NavOffrlError: ONNX Runtime refuses the model, or a GPU was required and is not used.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.intra_op_threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._where = where
        providers = choose_providers(config.device)
        try:
            self._session = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:  # ONNX Runtime raises a dozen classes without a common base
            raise NavOffrlError(
                f"ONNX Runtime {ort.__version__} cannot load it ({error})",
                where=where,
                remedy="export the bundle again, or upgrade onnxruntime",
            ) from error
        self.provider: str = self._session.get_providers()[0]
        if config.device == "gpu" and self.provider == CPU:
            raise NavOffrlError(
                "device 'gpu' was asked for but ONNX Runtime runs on the CPU",
                where=where,
                remedy="install CUDA and cuDNN for this onnxruntime-gpu, or set device to 'cpu'",
            )

    def inputs(self) -> dict[str, tuple[str, Shape]]:
        """Input name to (dtype, shape); a free dimension is 'batch'."""
        return {node.name: _tensor(node) for node in self._session.get_inputs()}

    def outputs(self) -> dict[str, tuple[str, Shape]]:
        """Output name to (dtype, shape); a free dimension is 'batch'."""
        return {node.name: _tensor(node) for node in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        """Run the graph and return its first output.

        Raises:
            NavOffrlError: ONNX Runtime failed while running.
        """
        try:
            output: NDArray[np.float32] = self._session.run(None, dict(inputs))[0]
        except Exception as error:
            raise NavOffrlError(f"ONNX Runtime failed ({error})", where=self._where) from error
        return output


def _tensor(node: "ort.NodeArg") -> tuple[str, Shape]:
    shape = tuple(size if isinstance(size, int) else "batch" for size in node.shape)
    return DTYPES.get(node.type, node.type), shape
