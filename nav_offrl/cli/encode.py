"""Cache the latents of a store's frames by a frozen encoder, so that learning on them is fast.

The encoder is that of a run, or of an exported bundle (which needs no torch). Latents lie in
STORE/derived/latents_*, one float32 array (steps, D), under a fingerprint of weights,
preprocessing, camera and what computes them: a run and its bundle, or GPU and CPU, round
differently and have caches of their own. A cache can be deleted at any time; of a store that grew,
only the new episodes are encoded.

Examples:
  nav-offrl encode drives.zarr --encoder runs/first
  nav-offrl train iql drives.zarr --encoder runs/first --output runs/second
  nav-offrl encode s3://bucket/drives.zarr --encoder policy.bundle
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from nav_offrl.errors import NavOffrlError

if TYPE_CHECKING:  # `--help` answers at once
    from nav_offrl.store.latents import Encoder
    from nav_offrl.store.reader import Store

FRAMES_AT_ONCE = 32


@dataclass
class Args:
    """Arguments of `nav-offrl encode`."""

    store: tyro.conf.Positional[str]
    """the log store: a path or URL"""
    encoder: Path
    """a run's folder, or a bundle"""
    camera: str = ""
    """which camera of the store; empty: that of the run, for a bundle the only one"""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """where to compute"""


def run(args: Args) -> None:
    """Encode what is not cached yet."""
    from tqdm import tqdm

    from nav_offrl.runtime.contract import CONTRACT_FILE
    from nav_offrl.store.latents import open_latents
    from nav_offrl.store.reader import Store

    store = Store.open(args.store)
    if (args.encoder / CONTRACT_FILE).is_file():
        encoder = bundle_encoder(args, store)
    elif (args.encoder / "config.yaml").is_file():
        encoder = run_encoder(args, store)
    else:
        raise NavOffrlError(
            "is neither a run nor a bundle",
            where=args.encoder,
            remedy="give a folder made by 'nav-offrl train' or 'nav-offrl export'",
        )
    latents = open_latents(
        store, encoder, lambda episodes: tqdm(episodes, "encode", unit="episode")
    )
    print(f"latents: {len(latents)} of {latents.shape[1]} numbers, {encoder.folder(store)}")


def run_encoder(args: Args, store: "Store") -> "Encoder":
    """Return the encoder of a run, computed by torch."""
    import torch

    from nav_offrl.training.data import pick_device
    from nav_offrl.training.latents import frozen_encoder, load_representation

    representation, config = load_representation(args.encoder)
    camera = args.camera or config.camera
    store.calibration(camera)  # or the error that names those there are
    device = pick_device({"gpu": "cuda"}.get(args.device, args.device))
    module = representation.encoder.to(device)
    return frozen_encoder(module, camera, config.encoder, torch.device(device.type))


def bundle_encoder(args: Args, store: "Store") -> "Encoder":
    """Return the encoder of a bundle, computed by ONNX Runtime."""
    import numpy as np

    from nav_offrl.runtime.bundle import load_bundle
    from nav_offrl.runtime.contract import CameraContract
    from nav_offrl.runtime.session import SessionConfig
    from nav_offrl.store.latents import Encoder, Latents

    cameras = list(store.info.cameras)
    if not args.camera and len(cameras) > 1:
        raise NavOffrlError(
            f"has cameras {', '.join(cameras)}", where=store.where, remedy="choose by --camera"
        )
    camera = args.camera or "".join(cameras)
    calibration = store.calibration(camera)
    contract = CameraContract(
        height=calibration.height,
        width=calibration.width,
        horizontal_fov=calibration.horizontal_fov,
    )
    bundle = load_bundle(args.encoder, contract, session=SessionConfig(device=args.device))

    def encode(store: "Store", episode: int) -> Latents:
        store.verify(episode)
        steps = store.steps_of(episode)
        latents = [
            bundle.encode(store.images(camera, slice(k, min(k + FRAMES_AT_ONCE, steps.stop))))
            for k in range(steps.start, steps.stop, FRAMES_AT_ONCE)
        ]
        return np.concatenate(latents)

    fingerprint = f"onnx {bundle.provider} {bundle.contract.graphs.encoder.sha256}"
    return Encoder(fingerprint, camera, bundle.contract.embedding_size, encode)
