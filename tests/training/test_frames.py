"""Frames reach the device as they lie in the tier, mapped or resident."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.store import Store
from nav_offrl.store.training_tier import TrainingTier
from nav_offrl.training import frames as frames_module
from nav_offrl.training.data import training_tier
from nav_offrl.training.frames import Cache, Frames, free_memory

torch.set_num_threads(1)

CACHES: tuple[Cache, ...] = ("map", "device")


@pytest.fixture(scope="module")
def tier(store: Store) -> TrainingTier:
    return training_tier(store, "front", EncoderConfig(height=32, width=32), progress=False)


def on(device: str, tier: TrainingTier, cache: Cache) -> Frames:
    return Frames(tier, torch.device(device), cache)


DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cache", CACHES)
def test_gathered_frames_are_those_of_the_tier(
    tier: TrainingTier, device: str, cache: Cache
) -> None:
    steps = np.array([[95, 0, 7], [7, 24, 60]])
    gathered = on(device, tier, cache).gather(steps)
    assert gathered.device.type == device and gathered.dtype == torch.uint8
    assert np.array_equal(gathered.cpu().numpy(), tier.gather(steps))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cache", CACHES)
def test_batches_come_in_order_with_their_own_frames(
    tier: TrainingTier, device: str, cache: Cache
) -> None:
    def draw(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 96, (2, 40))

    seen = []
    with on(device, tier, cache).batches(draw, range(3, 40)) as batches:
        for number, (steps, frames) in zip(range(3, 40), batches, strict=True):
            assert np.array_equal(steps, draw(number))
            assert np.array_equal(frames.cpu().numpy(), tier.gather(steps))
            seen.append(number)
    assert len(seen) == 37


def test_a_step_beyond_the_store_is_an_error_and_no_other_frame(tier: TrainingTier) -> None:
    for cache in CACHES:
        with (
            pytest.raises(IndexError),
            on("cpu", tier, cache).batches(lambda _: np.array([0, 96]), range(3)) as batches,
        ):
            list(batches)


def test_frames_that_do_not_fit_on_the_device_are_refused(
    tier: TrainingTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_module, "free_memory", lambda device: 96 * 32 * 32 * 3)
    with pytest.raises(NavOffrlError, match=r"'cache'.*0\.0 GB.*cpu has.*'map'"):
        on("cpu", tier, "device")
    monkeypatch.setattr(frames_module, "free_memory", lambda device: 2 * 96 * 32 * 32 * 3)
    on("cpu", tier, "device")


def test_free_memory_is_what_the_system_says() -> None:
    """Within what another process may take between the two looks."""
    psutil = pytest.importorskip("psutil")
    assert free_memory(torch.device("cpu")) == pytest.approx(
        psutil.virtual_memory().available, rel=0.2
    )


def test_training_does_not_depend_on_where_the_frames_are(
    store: Store, train_briefly: Callable[..., dict[str, torch.Tensor]]
) -> None:
    mapped, resident = train_briefly(store, cache="map"), train_briefly(store, cache="device")
    assert mapped.keys() == resident.keys()
    for name, tensor in mapped.items():
        assert torch.equal(tensor, resident[name]), name
