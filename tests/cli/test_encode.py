"""`nav-offrl encode`, and training on what it cached, with real runs and a real bundle."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nav_offrl.algorithms.goal_representation import GoalRepresentationConfig
from nav_offrl.algorithms.iql import IQLConfig
from nav_offrl.cli import main as command
from nav_offrl.cli.encode import Args, bundle_encoder, run_encoder
from nav_offrl.errors import NavOffrlError
from nav_offrl.networks.encoder import EncoderConfig
from nav_offrl.runtime import load_bundle
from nav_offrl.store import CameraInfo, Episode, Store, StoreInfo, StoreWriter
from nav_offrl.store.latents import find_latents
from nav_offrl.training import data as training_data
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.trained_policy import load_policy
from nav_offrl.training.trainer import Trainer, start_run
from nav_offrl_export.example import write_example_bundle

HEIGHT, WIDTH, LENGTH = 40, 56, 30


def drive(name: str, seed: int, split: str = "train") -> Episode:
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.integers(0, 256, (4, 30, 3), dtype=np.uint8), (400, HEIGHT))
    frames = [wall[:, 5 * k : 5 * k + WIDTH] for k in range(LENGTH)]
    time = np.arange(LENGTH)
    fields = {
        "time": time * 250_000_000,
        "position": np.stack([0.5 * time, np.zeros(LENGTH)], 1),
        "yaw": np.zeros(LENGTH),
        "action": np.stack([np.full(LENGTH, 0.5), np.sin(time)], 1),
    }
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    return Episode(name=name, images={"front": jpegs}, fields=fields, split=split)


def write_store(path: Path, seeds: range, rear: bool = False) -> Store:
    cameras = {"front": CameraInfo(height=HEIGHT, width=WIDTH)}
    if rear:
        cameras["rear"] = CameraInfo(height=HEIGHT, width=WIDTH)
    info = StoreInfo(rate_hz=4.0, action_source="commanded", cameras=cameras)
    with StoreWriter.create(path, info) as writer:
        for seed in seeds:
            episode = drive(f"drive_{seed}", seed, "held_out" if seed == 1 else "train")
            images = {camera: episode.images["front"] for camera in cameras}
            writer.append(
                Episode(
                    name=episode.name, images=images, fields=episode.fields, split=episode.split
                )
            )
        writer.finish()
    return Store.open(path)


def config(**changes: object) -> TrainConfig:
    tiny = TrainConfig(
        device="cpu",
        encoder=EncoderConfig(height=32, width=32, channels=(4, 8), latent_size=8),
        representation=GoalRepresentationConfig(
            steps=4, batch_size=8, horizon=16, hidden=(16,), contrastive_size=4
        ),
        method=IQLConfig(hidden=(16,)),
        steps=6,
        batch_size=16,
        log_every=3,
    )
    return tiny.model_copy(update=changes)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps, and its store beside it; do not change them."""
    folder = tmp_path_factory.mktemp("encode")
    store = write_store(folder / "log.zarr", range(3))
    Trainer(store, start_run(store, folder / "run", config()), progress=False).run()
    return folder / "run"


@pytest.fixture
def store(first_run: Path, tmp_path: Path) -> Store:
    """A copy of the run's store, without anything derived."""
    ignore = shutil.ignore_patterns("derived")
    shutil.copytree(first_run.parent / "log.zarr", tmp_path / "log.zarr", ignore=ignore)
    return Store.open(tmp_path / "log.zarr")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_example_bundle(tmp_path / "bundle", height=HEIGHT, width=WIDTH)


def encode(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        command.main(["encode", *map(str, arguments)])
    return int(end.value.code or 0)


def by_torch(run: Path, store: Store) -> NDArray[np.float32]:
    module = load_policy(run).encoder_module()
    with torch.no_grad():
        return module(torch.from_numpy(store.images("front", slice(0, store.steps)))).numpy()


def test_latents_of_a_run(first_run: Path, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert encode(store.path, "--encoder", first_run, "--device", "cpu") == 0
    assert f"latents: {store.steps} of 8 numbers" in capfd.readouterr().out
    spec = run_encoder(Args(str(store.path), first_run, device="cpu"), store)
    latents = find_latents(store, spec)
    np.testing.assert_allclose(latents, by_torch(first_run, store), rtol=1e-4, atol=1e-5)
    names = [path.name for path in (store.path / "derived").iterdir() if path.is_dir()]
    assert names == [spec.folder(store).name], "no training tier is needed for this"


def test_latents_are_the_same_with_a_training_tier_and_without(
    first_run: Path, store: Store
) -> None:
    args = Args(str(store.path), first_run, device="cpu")
    without = run_encoder(args, store).encode(store, 0)
    training_data.training_tier(store, "front", config().encoder, progress=False)
    with_tier = run_encoder(args, store).encode(store, 0)
    np.testing.assert_array_equal(without, with_tier)


def test_latents_of_a_bundle_are_those_it_gives_on_the_robot(bundle: Path, store: Store) -> None:
    assert encode(store.path, "--encoder", bundle, "--device", "cpu") == 0
    spec = bundle_encoder(Args(str(store.path), bundle, device="cpu"), store)
    frames = store.images("front", slice(0, store.steps))
    expected = np.concatenate([load_bundle(bundle).encode(frame[None]) for frame in frames])
    np.testing.assert_allclose(find_latents(store, spec), expected, rtol=1e-4, atol=1e-5)


def test_every_encoder_has_its_own_key(first_run: Path, bundle: Path, store: Store) -> None:
    of_run = run_encoder(Args(str(store.path), first_run, device="cpu"), store)
    assert of_run.fingerprint == load_policy(first_run).encoder("front").fingerprint
    of_bundle = bundle_encoder(Args(str(store.path), bundle, device="cpu"), store)
    assert "onnx CPUExecutionProvider" in of_bundle.fingerprint
    policy = load_policy(first_run)
    with torch.no_grad():
        next(policy.agent.representation.encoder.parameters()).view(-1)[0] += 1e-6
    keys = {of_run.fingerprint, of_bundle.fingerprint, policy.encoder("front").fingerprint}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "nowhere"], "nowhere: is neither a run nor a bundle"),
        (["--encoder", "RUN", "--camera", "left"], "holds no camera 'left' -> it has front, rear"),
        (["--encoder", "BUNDLE"], "has cameras front, rear -> choose by --camera"),
        (["--encoder", "UNFINISHED"], "has not finished learning its encoder"),
    ],
)
def test_what_cannot_be_encoded_says_so(
    arguments: list[str],
    message: str,
    first_run: Path,
    bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = write_store(tmp_path / "two.zarr", range(3), rear=True)
    start_run(store, tmp_path / "unfinished", config())
    places = {"RUN": first_run, "BUNDLE": bundle, "UNFINISHED": tmp_path / "unfinished"}
    assert encode(store.path, *[places.get(word, word) for word in arguments]) == 2
    assert message in capfd.readouterr().err


def test_bundle_for_a_camera_of_another_size_is_refused(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = write_example_bundle(tmp_path / "other", height=HEIGHT * 2, width=WIDTH)
    assert encode(store.path, "--encoder", other) == 2
    assert f"bundle takes {HEIGHT * 2}, camera gives {HEIGHT}" in capfd.readouterr().err


def test_a_run_may_keep_the_encoder_of_another(first_run: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "other.zarr", range(5, 9))
    arguments = ["train", "iql", str(store.path), "--output", str(tmp_path / "second")]
    arguments += ["--encoder", str(first_run), "--train.steps", "6", "--train.device", "cpu"]
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert not end.value.code
    names = [path.name for path in (store.path / "derived").iterdir() if path.is_dir()]
    assert len(names) == 1 and names[0].startswith("latents_"), "frames were not needed"
    policy, first = load_policy(tmp_path / "second"), load_policy(first_run)
    for name, value in first.agent.representation.state_dict().items():
        assert torch.equal(policy.agent.representation.state_dict()[name], value), name
    assert policy.config.encoder == first.config.encoder and policy.config.steps == 6
    assert policy.provenance["encoder_from"] == str(first_run)
    assert policy.provenance["store_fingerprint"] == store.fingerprint()
    relation = policy.agent.method.features.relation
    assert relation is not None
    for name, value in first.agent.representation.pair_head.state_dict().items():
        assert torch.equal(relation.state_dict()[name], value), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "second/metrics.jsonl").open("r")]
    assert all(step > first.config.representation.steps for step in steps)


def test_cached_or_not_training_is_the_same_bit_for_bit(
    first_run: Path, store: Store, tmp_path: Path
) -> None:
    states = []
    for name in ("cold", "warm"):
        run = start_run(store, tmp_path / name, config(), encoder_from=first_run)
        trainer = Trainer(store, run, progress=False)
        trainer.run()
        states.append(trainer.agent.method.state_dict())
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def test_other_encoder_settings_are_refused_with_a_kept_encoder(
    first_run: Path, store: Store, tmp_path: Path
) -> None:
    wider = EncoderConfig(height=32, width=32, channels=(4, 8), latent_size=16)
    with pytest.raises(NavOffrlError, match="settings 'encoder' are not those of the run"):
        start_run(store, tmp_path / "second", config(encoder=wider), encoder_from=first_run)
    assert not (tmp_path / "second").exists()
