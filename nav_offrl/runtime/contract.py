"""The contract of a bundle: what `bundle.json` says, and what a robot may rely on."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nav_offrl.config import Config, parse_config
from nav_offrl.errors import NavOffrlError

FORMAT = "nav_offrl.bundle"
VERSION = 1
CONTRACT_FILE = "bundle.json"

Scalar = str | int | float | bool | None
PositivePixels = Annotated[int, Field(gt=0, le=16384)]
Pair = tuple[float, float]


class CameraContract(Config):
    """The camera whose frames the encoder takes."""

    height: PositivePixels = Field(description="image height that the graph takes (pixels)")
    width: PositivePixels = Field(description="image width that the graph takes (pixels)")
    encoding: str = Field("rgb8", description="order and depth of the channels, ROS name")
    horizontal_fov: float | None = Field(
        None, gt=0, le=6.3, description="horizontal field of view (rad); None where unknown"
    )


class ActionContract(Config):
    """The policy's output: a velocity command in SI units."""

    names: tuple[Literal["linear_velocity"], Literal["angular_velocity"]] = Field(
        ("linear_velocity", "angular_velocity"), description="what each action is"
    )
    units: tuple[Literal["m/s"], Literal["rad/s"]] = Field(
        ("m/s", "rad/s"), description="unit of each action"
    )
    low: Pair = Field(description="lowest command (m/s, rad/s)")
    high: Pair = Field(description="highest command (m/s, rad/s)")

    @model_validator(mode="after")
    def _limits_contain_stop(self) -> Self:
        for low, high, name in zip(self.low, self.high, self.names, strict=True):
            if not low < high:
                raise ValueError(f"{name}: low {low} must be below high {high}")
            if not low <= 0.0 <= high:
                raise ValueError(f"{name}: [{low}, {high}] must contain 0, the stop command")
        return self


class TensorContract(Config):
    """One input or output of a graph."""

    dtype: Literal["uint8", "float32"] = Field(description="element type")
    shape: tuple[int | str, ...] = Field(description="sizes; a name stands for a free dimension")


class GraphContract(Config):
    """One ONNX file."""

    file: str = Field(pattern=r"^[A-Za-z0-9_-]+\.onnx$", description="name inside the bundle")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file's bytes")
    inputs: dict[str, TensorContract] = Field(description="input name to tensor")
    outputs: dict[str, TensorContract] = Field(description="output name to tensor")


class GraphSet(Config):
    """The three graphs of a bundle."""

    encoder: GraphContract = Field(description="image to latent")
    policy: GraphContract = Field(description="latent and goal latent to action (m/s, rad/s)")
    distance: GraphContract = Field(description="latent and goal latent to predicted steps")


class ParityReport(Config):
    """How far ONNX Runtime was from torch when the bundle was made."""

    tolerance: float = Field(
        gt=0,
        description="largest error allowed, relative to the output's scale; the encoder rounds to "
        "grey levels, so a tenth of its frames may have up to ten times as much",
    )
    batch_sizes: tuple[int, ...] = Field(description="batch sizes compared (frames)")
    frames: int = Field(gt=0, description="different real frames compared")
    relative_error: dict[str, float] = Field(
        description="graph to max |difference| / max |torch output|"
    )


class GraphLatency(Config):
    """Time of one run at batch 1."""

    p50_ms: float = Field(ge=0, description="median (ms)")
    p99_ms: float = Field(ge=0, description="99th percentile (ms)")


class LatencyReport(Config):
    """Latency on the machine that made the bundle; the robot's own will differ."""

    machine: str = Field(description="processor and operating system")
    provider: str = Field(description="ONNX Runtime execution provider in use")
    intra_op_threads: int = Field(gt=0, description="threads of one graph")
    runs: int = Field(gt=0, description="runs timed for each graph")
    graphs: dict[str, GraphLatency] = Field(description="graph to latency at batch 1")


class BundleContract(Config):
    """The whole of `bundle.json`."""

    format: Literal["nav_offrl.bundle"] = Field(
        "nav_offrl.bundle", description="what kind of file this is"
    )
    version: Literal[1] = Field(1, description="version of this contract")
    method: str = Field(min_length=1, description="training method, e.g. 'iql'")
    camera: CameraContract = Field(description="frames that the encoder takes")
    rate_hz: float = Field(gt=0, description="control rate that the policy was trained for (Hz)")
    action: ActionContract = Field(description="velocity command that the policy gives")
    embedding_size: int = Field(gt=0, description="length of a latent")
    arrival_steps: float = Field(
        gt=0, description="predicted steps at or below which the robot is at the goal"
    )
    metric_scale_m_per_step: float | None = Field(
        None, gt=0, description="metres driven in one step on average (m); None where unknown"
    )
    graphs: GraphSet = Field(description="the ONNX files")
    provenance: dict[str, Scalar] = Field(description="versions, configuration, data, seed")
    parity: ParityReport | None = Field(None, description="ONNX Runtime against torch")
    latency: LatencyReport | None = Field(None, description="measured where it was exported")

    @field_validator("camera")
    @classmethod
    def _frames_are_rgb(cls, camera: CameraContract) -> CameraContract:
        if camera.encoding != "rgb8":
            raise ValueError(f"encoding must be 'rgb8', found {camera.encoding!r}")
        return camera

    @model_validator(mode="after")
    def _graphs_fit(self) -> Self:
        files = [getattr(self.graphs, name).file for name in GraphSet.model_fields]
        if len(set(files)) != len(files):
            raise ValueError(f"graphs must be different files, found {files}")
        for name, (inputs, outputs) in expected_tensors(self.camera, self.embedding_size).items():
            graph: GraphContract = getattr(self.graphs, name)
            if _shapes(graph.inputs) != _shapes(inputs):
                raise ValueError(f"graphs.{name}.inputs must be {_shapes(inputs)}")
            if _shapes(graph.outputs) != _shapes(outputs):
                raise ValueError(f"graphs.{name}.outputs must be {_shapes(outputs)}")
        return self


Tensors = dict[str, TensorContract]


def expected_tensors(camera: CameraContract, size: int) -> dict[str, tuple[Tensors, Tensors]]:
    """Graph name to (inputs, outputs) for a `camera` and latents of length `size`."""
    latent = TensorContract(dtype="float32", shape=("batch", size))
    image = TensorContract(dtype="uint8", shape=("batch", camera.height, camera.width, 3))
    action = TensorContract(dtype="float32", shape=("batch", 2))
    steps = TensorContract(dtype="float32", shape=("batch",))
    pair = {"latent": latent, "goal_latent": latent}
    return {
        "encoder": ({"image": image}, {"latent": latent}),
        "policy": (pair, {"action": action}),
        "distance": (pair, {"steps": steps}),
    }


def _shapes(tensors: Tensors) -> dict[str, tuple[str, tuple[int | str, ...]]]:
    """Comparable form in which the name of a free dimension does not matter."""
    return {
        name: (tensor.dtype, tuple(d if isinstance(d, int) else "batch" for d in tensor.shape))
        for name, tensor in tensors.items()
    }


def parse_contract(text: str, where: str | Path) -> BundleContract:
    """Read `bundle.json`.

    Raises:
        NavOffrlError: not JSON, not a bundle, a newer version, or a wrong field (named).
    """
    try:
        values: Any = json.loads(text)
    except ValueError as error:
        raise NavOffrlError(
            f"is not valid JSON ({error})",
            where=where,
            remedy="the file is cut short or damaged; copy or export the bundle again",
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise NavOffrlError(
            f"field 'format' is not '{FORMAT}'", where=where, remedy="give a bundle's folder"
        )
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise NavOffrlError(
            f"field 'version' is {version}, this program reads up to {VERSION}",
            where=where,
            remedy="upgrade nav-offrl on this machine",
        )
    return parse_config(BundleContract, values, where)
