"""A store as tensors for training: frames, poses, normalised actions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.networks.preprocess import PREPROCESSING, resize_frames
from nav_offrl.store.location import Location
from nav_offrl.store.reader import Store
from nav_offrl.store.store_mixture import StoreMixture, open_stores
from nav_offrl.store.training_tier import (
    TierSpec,
    TrainingTier,
    has_training_tier,
    open_training_tier,
)

# Actions beyond these quantiles of the log are odometry glitches more often than driving.
ACTION_QUANTILES = (0.005, 0.995)


@dataclass(frozen=True)
class ActionLimits:
    """Limits of actions, for robots (v m/s, omega rad/s), that map to [-1, 1] in the networks."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of_store(cls, store: Store) -> "ActionLimits":
        """Take the range that the training episodes drove; it always contains stop.

        Raises:
            NavOffrlError: there is no training episode, or the robot never moves in them.
        """
        episodes = store.episodes.of_split("train")
        if not len(episodes):
            raise NavOffrlError("has no episode in split 'train'", where=store.where)
        rows = np.concatenate([np.arange(store.steps)[store.steps_of(e)] for e in episodes])
        action = store.field("action")[rows]
        low, high = np.quantile(action, ACTION_QUANTILES, axis=0)
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        still = np.flatnonzero(high - low < 1e-3)
        if len(still):
            names = ("linear velocity", "angular velocity") if len(low) == 2 else range(len(low))
            raise NavOffrlError(
                f"field 'action': the {names[int(still[0])]} is zero throughout",
                where=store.where,
                remedy="the log has no motion to learn from; check its units",
            )
        return cls(tuple(low.tolist()), tuple(high.tolist()))

    def normalise(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (…, A) in SI to [-1, 1], clipping what lies outside the limits."""
        low, high = np.array(self.low), np.array(self.high)
        scaled: NDArray[np.float32] = (2 * (action - low) / (high - low) - 1).astype(np.float32)
        return scaled.clip(-1, 1)


def pick_device(name: str) -> torch.device:
    """Resolve 'auto' to CUDA where there is one.

    Raises:
        NavOffrlError: CUDA was asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise NavOffrlError(
            "no CUDA device", where="field 'device'", remedy="use 'cpu' or run 'nav-offrl doctor'"
        )
    return torch.device(name)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch's CPU operations on so many threads.

    Networks as small as the heads gain little from a second thread, and lose most of their speed
    to its barriers as soon as anything else runs on the machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_tier(
    store: Store, camera: str, encoder: EncoderConfig, progress: bool = True
) -> TrainingTier:
    """Open the frames of `camera` at the encoder's size, resizing them all the first time."""
    return open_training_tier(
        store,
        _tier_spec(camera, encoder),
        lambda episodes: tqdm(episodes, desc="resize frames", unit="episode", disable=not progress),
    )


def existing_tier(store: Store, camera: str, encoder: EncoderConfig) -> TrainingTier | None:
    """Open the training tier if it was made for all that the store holds now."""
    spec = _tier_spec(camera, encoder)
    return open_training_tier(store, spec) if has_training_tier(store, spec) else None


def resized(frames: NDArray[np.uint8], encoder: EncoderConfig) -> NDArray[np.uint8]:
    """Resize (T, h, w, 3) frames to the encoder's size."""
    small = resize_frames(torch.from_numpy(frames), encoder.height, encoder.width)
    result: NDArray[np.uint8] = small.to(torch.uint8).numpy()
    return result


def _tier_spec(camera: str, encoder: EncoderConfig) -> TierSpec:
    size = encoder.height, encoder.width
    return TierSpec(camera, size, lambda frames: resized(frames, encoder), PREPROCESSING)


def store_places(store: Store) -> dict[str, str]:
    """Return where a run's store lies, or each store of a mixture, for its provenance."""
    if not isinstance(store, StoreMixture):
        return {"store": store.location.address}
    places = {f"store.{name}": part.location.address for name, part in store.stores.items()}
    return {"store": store.where} | places


def reopen_store(
    run: Path,
    provenance: Mapping[str, Any],
    weights: Mapping[str, float],
    moved_to: str | Path | None,
) -> Store:
    """Open what `store_places` wrote into the provenance of `run`.

    `moved_to` is where the store is now; of several, the folder that they lie in.

    Raises:
        NavOffrlError: a store is not there.
    """
    several = [str(place) for key, place in provenance.items() if key.startswith("store.")]
    places = several or [str(provenance["store"])]
    if moved_to is not None:
        places = [f"{moved_to}/{place.rsplit('/', 1)[-1]}" for place in several] or [str(moved_to)]
    for location in map(Location.of, places):
        if location.remote is None and not location.folder.exists():
            raise NavOffrlError(
                f"its store is not at {location.text}",
                where=run,
                remedy="say where it is with --store (of several: the folder that holds them)",
            )
    return open_stores(places, weights)


def poses(store: Store) -> Tensor:
    """Return x, y, yaw of every step, (steps, 3) float32."""
    position, yaw = store.field("position"), store.field("yaw")
    return torch.from_numpy(np.concatenate([position, yaw[:, None]], 1).astype(np.float32))
