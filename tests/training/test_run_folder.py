"""What is missing, damaged or changed in a run is named, with what to do about it."""

import os
import pickletools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.training.config import TrainConfig
from nav_offrl.training.run_folder import Checkpoint, RunFolder
from nav_offrl.training.trained_policy import load_policy
from nav_offrl.training.trainer import Trainer, start_run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def finished(store: Store, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "finished"
    Trainer(store, start_run(store, path, config), progress=False).run()
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of one's own to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def newest(run: Path) -> Path:
    return run / "checkpoints" / (run / "checkpoints" / "last").read_text()


def resume(store: Store, run: Path) -> None:
    Trainer(store, RunFolder.open(run), progress=False).run()


def refuses(action: Callable[[], object], *parts: str) -> None:
    """Expect an error in one line that holds all of `parts`."""
    with pytest.raises(NavOffrlError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_the_checkpoint_is_the_final_step_and_holds_every_network(
    finished: Path, config: TrainConfig
) -> None:
    assert newest(finished).name == f"policy_{config.steps:06d}"
    weights = load_file(newest(finished) / "weights.safetensors")
    for part in (
        "method.value.", "method.critic.", "method.target_critic.", "method.policy.log_std",
        "representation.pair_head.bin_centres", "representation.pose_scale",
    ):  # fmt: skip
        assert any(name.startswith(part) for name in weights), part
    assert any("running_var" in name for name in weights), "statistics of the encoder"
    target, online = (
        weights[f"method.{name}.network.last.weight"] for name in ("target_critic", "critic")
    )
    assert not torch.equal(target, online)
    assert float(weights["representation.pose_scale"]) != 1.0


def test_old_checkpoints_are_dropped(finished: Path) -> None:
    folders = sorted(p.name for p in (finished / "checkpoints").iterdir() if p.is_dir())
    assert folders == ["policy_000010", "policy_000014"]


def test_no_file_of_a_run_is_a_pickle(finished: Path) -> None:
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert {".yaml", ".json", ".jsonl", ".safetensors"} <= {path.suffix for path in files}
    for path in files:
        content = path.read_bytes()
        assert not content.startswith((b"PK\x03\x04", b"\x80")), f"{path} is a torch or pickle file"
        with pytest.raises(ValueError):
            list(pickletools.genops(content))


def test_metrics_are_logged_once_a_step_over_both_phases(finished: Path) -> None:
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    steps = [yaml.safe_load(line)["step"] for line in lines]
    assert steps == [3, 6, 9, 12, 15, 18, 21, 24]
    assert "held_out/value/loss" in lines[-1] and "policy/effective_sample_share" in lines[-1]


def test_an_existing_folder_is_not_overwritten(
    store: Store, config: TrainConfig, run: Path
) -> None:
    before = (run / "config.yaml").stat().st_mtime_ns
    refuses(lambda: start_run(store, run, config), str(run), "exists already", "--resume")
    assert (run / "config.yaml").stat().st_mtime_ns == before


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    refuses(lambda: RunFolder.open(tmp_path), str(tmp_path), "no run folder", "nav-offrl train")
    refuses(lambda: load_policy(tmp_path / "absent"), "absent", "no run folder")


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "deleted", "replaced"])
def test_a_damaged_checkpoint(store: Store, run: Path, file: str, damage: str) -> None:
    path = newest(run) / file
    content = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        kept = {"truncated": content[: len(content) // 2], "emptied": b"", "replaced": b"{}"}
        path.write_bytes(kept[damage])
    for action in (lambda: resume(store, run), lambda: load_policy(run)):
        refuses(action, str(newest(run)), "damaged", "'last'")


def test_the_remedy_for_a_damaged_checkpoint_works(store: Store, run: Path) -> None:
    (newest(run) / "weights.safetensors").write_bytes(b"")
    (run / "checkpoints" / "last").write_text("policy_000010\n")
    resume(store, run)
    assert newest(run).name == "policy_000014"
    assert load_policy(run).agent is not None


def edit_config(run: Path, change: Callable[[dict[str, object]], object]) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    change(values)
    (run / "config.yaml").write_text(yaml.safe_dump(values))


def test_an_unknown_field_in_the_configuration(store: Store, run: Path) -> None:
    edit_config(run, lambda values: values["method"].update(expectil=0.9))  # type: ignore[attr-defined]
    for action in (lambda: resume(store, run), lambda: load_policy(run)):
        refuses(action, str(run / "config.yaml"), "method.expectil", "remove or rename")


def test_a_value_out_of_range_in_the_configuration(store: Store, run: Path) -> None:
    edit_config(run, lambda values: values["method"].update(expectile=1.5))  # type: ignore[attr-defined]
    refuses(lambda: resume(store, run), str(run / "config.yaml"), "method.expectile", "1.5")


def test_other_network_sizes_in_the_configuration(store: Store, run: Path) -> None:
    edit_config(run, lambda values: values["method"].update(hidden=[32]))  # type: ignore[attr-defined]
    for action in (lambda: resume(store, run), lambda: load_policy(run)):
        refuses(action, "config.yaml", "does not fit", "restore")


def test_a_missing_or_torn_provenance(store: Store, run: Path) -> None:
    (run / "provenance.json").write_text("{")
    refuses(lambda: resume(store, run), str(run / "provenance.json"), "cannot be read")
    (run / "provenance.json").unlink()
    refuses(lambda: load_policy(run), str(run / "provenance.json"), "cannot be read")


def test_a_store_that_changed_since(
    write_store: Callable[..., Store],
    append_drive: Callable[[Path], None],
    config: TrainConfig,
    tmp_path: Path,
) -> None:
    store = write_store(tmp_path / "log.zarr", ("train", "train"))
    run = start_run(store, tmp_path / "run", config)
    Trainer(store, run, progress=False).run()
    append_drive(store.path)
    refuses(lambda: resume(Store.open(store.path), run.path), "log.zarr", "new run")
    refuses(lambda: load_policy(run.path), "log.zarr", "not the store")


def test_a_store_that_is_gone_or_moved(run: Path, store: Store, tmp_path: Path) -> None:
    text = (run / "provenance.json").read_text()
    (run / "provenance.json").write_text(text.replace(str(store.path), str(tmp_path / "gone")))
    refuses(lambda: load_policy(run), str(run), str(tmp_path / "gone"), "--store")
    assert load_policy(run, store=store.path).store.steps == store.steps


def test_a_run_without_a_policy_yet(store: Store, config: TrainConfig, tmp_path: Path) -> None:
    run = start_run(store, tmp_path / "young", config)
    refuses(lambda: load_policy(run.path), str(run.path), "no trained policy yet", "--resume")
    short = config.model_copy(update={"steps": 0})
    run = start_run(store, tmp_path / "half", short)
    Trainer(store, run, progress=False).run()
    refuses(lambda: load_policy(run.path), "no trained policy yet")


def test_a_store_without_training_episodes(
    write_store: Callable[..., Store], config: TrainConfig, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "log.zarr", ("held_out",))
    refuses(lambda: start_run(store, tmp_path / "run", config), "log.zarr", "'train'")
    assert not (tmp_path / "run").exists(), "a corrected store must find the place free"


def test_a_full_disk_spares_the_newest_checkpoint(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.open(run)
    before = folder.load()
    assert before is not None

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nav_offrl.training.run_folder.save_file", full)
    for step in (before.step, before.step + 5):
        later = Checkpoint("policy", step, before.weights, before.optimizer, {"more": 1})
        refuses(lambda later=later: folder.save(later), "No space left", "free disk space")  # type: ignore[misc]
        after = folder.load()
        assert after is not None and after.step == before.step
        assert torch.equal(
            after.weights["method.policy.log_std"], before.weights["method.policy.log_std"]
        )


def test_a_clock_set_back_does_not_drop_the_newest_checkpoint(run: Path) -> None:
    """Robots set their clock when they find a network."""
    folder = RunFolder.open(run)
    newest_so_far = folder.load()
    assert newest_so_far is not None
    for path in (run / "checkpoints").iterdir():
        os.utime(path, (4e9, 4e9))
    later = Checkpoint("policy", 99, newest_so_far.weights, newest_so_far.optimizer, {})
    folder.save(later)
    loaded = folder.load()
    assert loaded is not None and loaded.step == 99


def test_partial_checkpoints_are_not_taken_for_whole_ones(store: Store, run: Path) -> None:
    shutil.copytree(newest(run), run / "checkpoints" / "policy_000099.partial")
    loaded = RunFolder.open(run).load()
    assert loaded is not None and re.fullmatch("policy_000014", newest(run).name)
    resume(store, run)
