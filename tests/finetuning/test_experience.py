"""What was driven is safe on disk, and means the same when it is opened again."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nav_offrl.errors import NavOffrlError
from nav_offrl.finetuning.actor import FIELDS, Actor, Experience, ExplorationConfig
from nav_offrl.finetuning.experience import ExperienceStore
from nav_offrl.store import CameraInfo, Store, StoreInfo, StoreWriter
from nav_offrl.training.trained_policy import TrainedPolicy

CAMERA = CameraInfo(height=96, width=128, horizontal_fov=1.745)


@pytest.fixture
def driven(policy: TrainedPolicy, env: Any) -> list[Experience]:
    actor = Actor(env, policy.encoder_module(), ExplorationConfig(), 0.2)
    module, limits = policy.policy_module(), policy.agent.limits
    return [actor.drive(module, limits, seed, f"drive_{seed}") for seed in range(3)]


def experience_store(path: Path, policy: TrainedPolicy) -> ExperienceStore:
    return ExperienceStore(path, CAMERA, 5.0, policy.encoder("front"))


def test_each_drive_is_on_disk_once_it_is_in(
    driven: list[Experience], policy: TrainedPolicy, tmp_path: Path
) -> None:
    experience = experience_store(tmp_path / "own.zarr", policy)
    assert experience.drives == experience.steps == 0 and not (tmp_path / "own.zarr").exists()
    for count, drive in enumerate(driven, start=1):
        experience.append(drive)
        store = Store.open(tmp_path / "own.zarr")
        assert len(store.episodes) == experience.drives == count
        assert store.steps == experience.steps == len(experience.latents)
        jpegs = store.jpegs("front", store.steps_of(count - 1))
        assert jpegs == list(drive.episode.images["front"])
        written = store.field("action")[store.steps_of(count - 1)]
        np.testing.assert_allclose(written, drive.episode.fields["action"], rtol=1e-6)
    assert store.info.rate_hz == 5.0 and store.info.cameras["front"] == CAMERA


def test_opened_again_it_goes_on_with_the_same_latents(
    driven: list[Experience], policy: TrainedPolicy, tmp_path: Path
) -> None:
    experience = experience_store(tmp_path / "own.zarr", policy)
    for drive in driven[:2]:
        experience.append(drive)
    with pytest.raises(NavOffrlError, match="written by another process"):
        experience_store(tmp_path / "own.zarr", policy)
    experience.close()
    again = experience_store(tmp_path / "own.zarr", policy)
    assert (again.drives, again.steps) == (2, experience.steps)
    assert torch.equal(again.latents, experience.latents)
    again.append(driven[2])
    assert len(Store.open(tmp_path / "own.zarr").episodes) == 3
    with pytest.raises(NavOffrlError, match="is in already"):
        again.append(driven[2])
    assert again.drives == 3
    torch.testing.assert_close(again.latents[-len(driven[2].latents) :], driven[2].latents)


def test_killed_it_encodes_what_it_had_not_cached(
    driven: list[Experience], policy: TrainedPolicy, tmp_path: Path
) -> None:
    experience = experience_store(tmp_path / "own.zarr", policy)
    experience.append(driven[0])
    experience.close()
    experience = experience_store(tmp_path / "own.zarr", policy)
    experience.append(driven[1])
    shutil.copytree(tmp_path / "own.zarr", tmp_path / "killed.zarr")
    again = experience_store(tmp_path / "killed.zarr", policy)
    first = driven[0].episode.length
    assert torch.equal(again.latents[:first], driven[0].latents)
    # Not equal: while driving the camera's own picture is encoded, afterwards its JPEG.
    change = (again.latents - experience.latents)[first:].norm(dim=-1).mean()
    spread = (experience.latents - experience.latents.mean(0)).norm(dim=-1).mean()
    assert 0 < change < 0.1 * spread, f"{change} of {spread}"


def test_power_lost_before_the_store_had_its_name(
    driven: list[Experience], policy: TrainedPolicy, tmp_path: Path
) -> None:
    info = StoreInfo(
        rate_hz=5.0,
        action_source="commanded",
        cameras={"front": CAMERA},
        fields=FIELDS,
        notes="recorded while finetuning",
    )
    StoreWriter.create(tmp_path / "own.zarr", info).append(driven[0].episode)  # never finished
    experience = experience_store(tmp_path / "own.zarr", policy)
    assert experience.drives == 0
    for drive in driven[:2]:
        experience.append(drive)
    assert Store.open(tmp_path / "own.zarr").episodes.name == ["drive_0", "drive_1"]
    assert [path.name for path in tmp_path.iterdir()] == ["own.zarr"]
