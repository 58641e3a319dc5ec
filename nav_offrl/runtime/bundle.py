"""Load a bundle, or say exactly why not: a robot must not start on a doubtful file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime.contract import (
    CONTRACT_FILE,
    BundleContract,
    CameraContract,
    GraphContract,
    GraphSet,
    expected_tensors,
    parse_contract,
)
from nav_offrl.runtime.session import GraphSession, SessionConfig
from nav_offrl.runtime.types import Pixels

FOV_TOLERANCE = 0.05  # relative; calibrations of one camera model differ by a few per cent
RATE_TOLERANCE = 0.1  # relative; predicted steps and the arrival threshold scale with it

Latent = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle with its graphs loaded and warmed up.

    `provider` is the ONNX Runtime execution provider in use; `identity` the sha256 of
    `bundle.json`, which itself holds the sha256 of each graph.
    """

    path: Path
    contract: BundleContract
    identity: str
    encoder: GraphSession
    policy: GraphSession
    distance: GraphSession

    @property
    def provider(self) -> str:
        """Execution provider of the encoder, the graph that costs."""
        return self.encoder.provider

    def encode(self, images: Pixels) -> Latent:
        """Map (B, H, W, 3) uint8 RGB frames to (B, D) latents."""
        return self.encoder.run({"image": np.ascontiguousarray(images)})

    def act(self, latent: Latent, goal_latent: Latent) -> NDArray[np.float32]:
        """Map (B, D) latents and goal latents to (B, 2) commands (m/s, rad/s)."""
        return self.policy.run({"latent": latent, "goal_latent": goal_latent})

    def steps_to_goal(self, latent: Latent, goal_latent: Latent) -> NDArray[np.float32]:
        """Map (B, D) latents and goal latents to (B,) predicted steps of the bundle's rate."""
        return self.distance.run({"latent": latent, "goal_latent": goal_latent})


def load_bundle(
    path: str | Path,
    camera: CameraContract | None = None,
    rate_hz: float | None = None,
    session: SessionConfig | None = None,
) -> Bundle:
    """Read, check and warm up the bundle in the folder `path`.

    Args:
        path: folder with `bundle.json` and the graphs.
        camera: the robot's camera; None leaves its check out.
        rate_hz: rate (Hz) at which images will be given; None leaves its check out.
        session: device and threads.

    Raises:
        NavOffrlError: anything is missing, changed, of another version, or does not fit the
            camera, the rate or the contract. Names the file, the field and what to do.
    """
    path = Path(path)
    text = _read_contract(path)
    where = path / CONTRACT_FILE
    contract = parse_contract(text, where)
    if camera is not None:
        check_camera(contract.camera, camera, where)
    if rate_hz is not None:
        check_rate(contract.rate_hz, rate_hz, where)
    _refuse_unlisted_graphs(path, contract)
    config = session or SessionConfig()
    graphs = {
        name: _load_graph(path, getattr(contract.graphs, name), config)
        for name in GraphSet.model_fields
    }
    identity = hashlib.sha256(text.encode()).hexdigest()
    bundle = Bundle(path, contract, identity, **graphs)
    _check_tensors(bundle)
    _warm_up(bundle)
    return bundle


def check_camera(wanted: CameraContract, camera: CameraContract, where: str | Path) -> None:
    """Refuse a camera whose frames the encoder was not made for.

    Raises:
        NavOffrlError: height, width, encoding or field of view differ.
    """
    for field in ("height", "width", "encoding"):
        bundle_value, camera_value = getattr(wanted, field), getattr(camera, field)
        if bundle_value != camera_value:
            raise NavOffrlError(
                f"field 'camera.{field}': bundle takes {bundle_value}, camera gives {camera_value}",
                where=where,
                remedy="set the camera up so, or export the run again for this camera",
            )
    if wanted.horizontal_fov is None or camera.horizontal_fov is None:
        return
    if abs(camera.horizontal_fov / wanted.horizontal_fov - 1.0) > FOV_TOLERANCE:
        raise NavOffrlError(
            f"field 'camera.horizontal_fov': bundle was trained for {wanted.horizontal_fov:.3f} "
            f"rad, camera has {camera.horizontal_fov:.3f} rad",
            where=where,
            remedy="use a lens like the training data's, or train with data of this camera",
        )


def check_rate(wanted: float, rate_hz: float, where: str | Path) -> None:
    """Refuse a rate (Hz) too far from the bundle's.

    Raises:
        NavOffrlError: they differ by more than a tenth.
    """
    if not abs(rate_hz / wanted - 1.0) <= RATE_TOLERANCE:
        raise NavOffrlError(
            f"field 'rate_hz': bundle was trained for {wanted:g} Hz, robot runs at {rate_hz:g} Hz",
            where=where,
            remedy=f"give images at {wanted:g} Hz, or train for {rate_hz:g} Hz",
        )


def _read_contract(path: Path) -> str:
    try:
        return (path / CONTRACT_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NavOffrlError(
            f"{CONTRACT_FILE} cannot be read ({error})",
            where=path,
            remedy="give the folder that 'nav-offrl export' wrote",
        ) from error


def _refuse_unlisted_graphs(path: Path, contract: BundleContract) -> None:
    listed = {getattr(contract.graphs, name).file for name in GraphSet.model_fields}
    unlisted = sorted(file.name for file in path.glob("*.onnx") if file.name not in listed)
    if unlisted:
        raise NavOffrlError(
            f"holds graphs that {CONTRACT_FILE} does not list: {', '.join(unlisted)}",
            where=path,
            remedy="the folder mixes bundles; export into a new one",
        )


def _load_graph(path: Path, graph: GraphContract, config: SessionConfig) -> GraphSession:
    file = path / graph.file
    try:
        model = file.read_bytes()
    except OSError as error:
        raise NavOffrlError(
            f"cannot be read ({error.strerror})", where=file, remedy="copy the whole bundle again"
        ) from error
    # The bytes that were hashed are the bytes that run: the file is not opened twice.
    if hashlib.sha256(model).hexdigest() != graph.sha256:
        raise NavOffrlError(
            f"sha256 differs from the one in {CONTRACT_FILE}",
            where=file,
            remedy="the file is damaged or was exchanged; copy or export the bundle again",
        )
    return GraphSession(model, file, config)


def _check_tensors(bundle: Bundle) -> None:
    contract = bundle.contract
    expected = expected_tensors(contract.camera, contract.embedding_size)
    for name, sides in expected.items():
        session: GraphSession = getattr(bundle, name)
        file = bundle.path / getattr(contract.graphs, name).file
        for side, wanted in zip(("inputs", "outputs"), sides, strict=True):
            tensors = {key: (tensor.dtype, tensor.shape) for key, tensor in wanted.items()}
            found = session.inputs() if side == "inputs" else session.outputs()
            if found != tensors:
                raise NavOffrlError(
                    f"{side} of the graph are {found}, field 'graphs.{name}' says {tensors}",
                    where=file,
                    remedy="export the run again",
                )


def _warm_up(bundle: Bundle, runs: int = 3) -> None:
    """Pay for the first runs now, and refuse graphs that give nonsense on plain inputs."""
    camera = bundle.contract.camera
    random = np.random.default_rng(0)
    shape = (1, camera.height, camera.width, 3)
    for _ in range(runs):
        noise = random.integers(0, 256, shape, dtype=np.uint8)
        grey = np.full(shape, 128, np.uint8)
        latent, goal_latent = bundle.encode(noise), bundle.encode(grey)
        outputs = {
            "encoder": latent,
            "policy": bundle.act(latent, goal_latent),
            "distance": bundle.steps_to_goal(latent, goal_latent),
        }
        for name, output in outputs.items():
            if not np.isfinite(output).all():
                raise NavOffrlError(
                    f"graph '{name}' gives values that are not finite",
                    where=bundle.path,
                    remedy="its weights are damaged or training diverged; export another run",
                )
