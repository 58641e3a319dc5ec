"""Small valid logs of every format that `nav-offrl import` takes: what the fuzzing begins from.

Each holds two drives or more of `STEPS` steps with all that its format can have. A `Spoiler` sees
every array and packet before it is packed.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.store import sample_bags, sample_stores
from benchmarks.store.log_damage import Spoiler
from nav_offrl_datasets.readers.tfrecord import masked_crc

STEPS = 8
RECIPE = sample_bags.RECIPE  # a file in the logs of bags, which the import may be given
HEIGHT, WIDTH = 24, 32


@dataclass(frozen=True)
class Sample:
    """One kind of log: `format` is what `--format` calls it, "" for a store."""

    name: str
    format: str
    write: Callable[[Path, Spoiler], object]


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", _pixels(seed))[1].tobytes()


def _pixels(seed: int) -> NDArray[Any]:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return cv2.blur(noise, (5, 5))


def write_gnm(folder: Path, spoiler: Spoiler) -> None:
    for number in range(2):
        run = folder / f"run_{number}"
        run.mkdir()
        for step in range(STEPS):
            (run / f"{step}.jpg").write_bytes(spoiler.content(jpeg(step)))
        position = np.stack([0.1 * np.arange(STEPS), np.full(STEPS, number)], axis=1)
        poses = {"position": spoiler.array(position), "yaw": spoiler.array(np.zeros(STEPS))}
        (run / "traj_data.pkl").write_bytes(pickle.dumps(poses))


def write_images(folder: Path, spoiler: Spoiler) -> None:
    for number, suffix in enumerate((".jpg", ".png")):
        (folder / f"map_{number}").mkdir()
        for step in range(STEPS):
            content = cv2.imencode(suffix, _pixels(step + 10 * number))[1].tobytes()
            (folder / f"map_{number}" / f"{step}{suffix}").write_bytes(spoiler.content(content))


def write_recon(folder: Path, spoiler: Spoiler) -> None:
    step = np.arange(STEPS, dtype=float)
    for number, packed in enumerate(({}, {"compression": "gzip", "shuffle": True})):
        frames = [spoiler.content(jpeg(index + 20 * number)) for index in range(STEPS)]
        drive = {
            "lidar": np.where(np.arange(12) < 6, 2.0 + step[:, None], np.inf),
            "commands/linear_velocity": 1.0 + 0.01 * step,
            "commands/angular_velocity": -0.5 + 0.01 * step,
            "jackal/position": np.stack([0.25 * step, 0.1 * step, 0 * step + number], axis=1),
            "jackal/yaw": 0.05 * step,
            "jackal/linear_velocity": 0.9 + 0.01 * step,
            "jackal/angular_velocity": -0.4 + 0.01 * step,
            "jackal/imu/angular_velocity": np.tile([0.1, 0.2, 0.3], (STEPS, 1)),
            "jackal/imu/linear_acceleration": np.tile([0.4, 0.5, 9.8], (STEPS, 1)),
            "collision/any": step == STEPS - 1,
            "collision/close": step >= STEPS - 2,
            "gps/latlong": np.stack([37.9 + 1e-6 * step, -122.3 + 1e-6 * step], axis=1),
            "gps/altitude": 12.0 + step,
            "gps/is_fixed": step > 0,
        }
        path = folder / f"jackal_2019-08-0{number}-16-23-31_0_r00.hdf5"
        with h5py.File(path, "w") as file:
            longest = max(map(len, frames)) + 1
            file.create_dataset("images/rgb_left", data=np.array(frames, f"S{longest}"), **packed)
            for name, values in drive.items():
                values = spoiler.array(values)
                file.create_dataset(name, data=values, **(packed if values.ndim else {}))


def write_badgr(folder: Path, spoiler: Spoiler) -> None:
    for number in range(2):
        step = np.arange(STEPS + 4, dtype="<f4")
        drive = {
            "jackal/position": np.stack([step, 0 * step + number, 0 * step], axis=1),
            "jackal/yaw": 0.1 * step[:, None],
            "jackal/linear_velocity": 0.5 + step[:, None],
            "jackal/angular_velocity": -step[:, None],
            "jackal/imu/angular_velocity": np.tile([0.1, 0.2, 0.3], (len(step), 1)),
            "jackal/imu/linear_acceleration": np.tile([0.4, 0.5, 9.8], (len(step), 1)),
            "collision/any": (step == len(step) - 1).astype("u1")[:, None],
            "bumpy": (step == 3).astype("u1")[:, None],
            "gps/latlong": np.tile([37.5, -122.5], (len(step), 1)),
            "gps/is_fixed": (step != 1)[:, None],
        }
        whole = {
            name: values if values.dtype == "u1" else values.astype("<f4")
            for name, values in drive.items()
        }
        spoilt = {name: spoiler.numbers(values) for name, values in whole.items()}
        records = [_example(_window(spoilt, at, spoiler)) for at in range(STEPS)]
        framed = [_framed(spoiler.content(record)) for record in records]
        (folder / f"{number}.tfrecord").write_bytes(b"".join(framed))


def _window(drive: dict[str, Any], at: int, spoiler: Spoiler) -> dict[str, bytes]:
    """The window of a drive that begins at step `at`: the step, then the four after it."""
    later = np.arange(at + 1, at + 5)
    features = {}
    for name, values in drive.items():
        features[f"inputs/{name}"] = values[at].tobytes()
        features[f"outputs/{name}"] = values[np.minimum(later, len(values) - 1)].tobytes()
    commands = spoiler.numbers((later - 1).astype("<f4"))
    features["inputs/commands/linear_velocity"] = commands.tobytes()
    features["inputs/commands/angular_velocity"] = (-commands).tobytes()
    features["inputs/images/rgb_left"] = bytes([at]) * (96 * 128 * 3)
    features["outputs/done"] = (later >= STEPS + 3).astype("u1").tobytes()
    return features


def _example(features: dict[str, bytes]) -> bytes:
    """A `tf.Example` of byte lists."""
    entries = [
        _delimited(1, key.encode()) + _delimited(2, _delimited(1, _delimited(1, value)))
        for key, value in features.items()
    ]
    return _delimited(1, b"".join(_delimited(1, entry) for entry in entries))


def _delimited(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _framed(data: bytes) -> bytes:
    length = len(data).to_bytes(8, "little")
    sums = [masked_crc(part).to_bytes(4, "little") for part in (length, data)]
    return length + sums[0] + data + sums[1]


def write_donkeycar(folder: Path, spoiler: Spoiler) -> None:
    (folder / "images").mkdir()
    angle, throttle = (spoiler.numbers(np.linspace(0, 0.5, 2 * STEPS)) for _ in range(2))
    time = spoiler.numbers(1_668_221_000_000 + 50 * np.arange(2 * STEPS))
    for index in range(2 * STEPS):
        image = f"{index}_cam_image_array_.jpg"
        record = {
            "_index": index,
            "_session_id": f"22-11-12_{index // STEPS}",
            "_timestamp_ms": int(time[index]),
            "cam/image_array": image,
            "user/angle": float(angle[index]),
            "user/throttle": float(throttle[index]),
            "user/mode": "user",
        }
        with (folder / f"catalog_{index // STEPS}.catalog").open("a") as file:
            file.write(json.dumps(record) + "\n")
        (folder / "images" / image).write_bytes(spoiler.content(jpeg(index)))
    catalogs = {
        "paths": ["catalog_0.catalog", "catalog_1.catalog"],
        "current_index": 2 * STEPS,
        "max_len": STEPS,
        "deleted_indexes": [STEPS - 1],
    }
    inputs = ["cam/image_array", "user/angle", "user/throttle", "user/mode"]
    types = ["image_array", "float", "float", "str"]
    lines = [inputs, types, {}, {"created_at": 1668220914.3}, catalogs]
    (folder / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_ogbench(folder: Path, spoiler: Spoiler) -> None:
    rows = 2 * STEPS
    qpos = np.zeros((rows, 15), np.float32)
    qpos[:, 0], qpos[:, 3] = 0.1 * np.arange(rows), 1.0
    content = {
        "observations": np.concatenate([qpos, np.ones((rows, 14), np.float32)], axis=1),
        "actions": np.arange(8 * rows, dtype=np.float32).reshape(rows, 8),
        "terminals": np.arange(rows) % STEPS == STEPS - 1,
        "qpos": qpos,
    }
    for suffix, save in (("", np.savez_compressed), ("-val", np.savez)):
        spoilt: dict[str, Any] = {name: spoiler.array(values) for name, values in content.items()}
        save(folder / f"antmaze-medium-navigate-v0{suffix}.npz", **spoilt)


def write_ogbench_visual(folder: Path, spoiler: Spoiler) -> None:
    rows = 2 * STEPS
    frames = np.broadcast_to(np.arange(rows, dtype=np.uint8)[:, None, None, None], (rows, 8, 8, 3))
    content: dict[str, Any] = {
        "observations": spoiler.array(frames),
        "actions": spoiler.array(np.ones((rows, 2), np.float32)),
        "terminals": spoiler.array(np.arange(rows) % STEPS == STEPS - 1),
    }
    np.savez_compressed(folder / "visual-antmaze-medium-navigate-v0.npz", **content)


def write_minari(folder: Path, spoiler: Spoiler) -> None:
    data = folder / "data"
    data.mkdir()
    metadata = {"env_spec": json.dumps({"id": "PointMaze_UMaze-v3"}), "total_episodes": 2}
    (data / "metadata.json").write_text(json.dumps(metadata))
    with h5py.File(data / "main_data.hdf5", "w", track_order=True) as file:
        for index in range(2):
            group = file.create_group(f"episode_{index}")
            group.attrs["id"] = index
            for name, values in _minari_episode(float(index)).items():
                values = spoiler.array(values)
                plain = values.ndim == 0 or index == 0
                group.create_dataset(name, data=values, chunks=None if plain else True)
            group.create_dataset("infos", data=["{}"], dtype=h5py.string_dtype())


def _minari_episode(first: float) -> dict[str, NDArray[Any]]:
    place, last = first + 0.1 * np.arange(STEPS + 1), np.arange(STEPS) == STEPS - 1
    return {
        "observations/observation": np.stack([place, -place, 0 * place], axis=1),
        "observations/achieved_goal": np.stack([place, 2 * place], axis=1),
        "observations/desired_goal": np.full((STEPS + 1, 2), 99.0),
        "actions": np.stack([np.arange(STEPS), -np.arange(STEPS)], axis=1).astype(np.float32),
        "rewards": 0.5 * np.arange(STEPS),
        "terminations": last,
        "truncations": ~last & False,
    }


def write_sacson(folder: Path, spoiler: Spoiler) -> None:
    steps = np.arange(5)
    for number in range(2):
        channels = np.arange(24 + 6 * 4, dtype=np.uint8) + number
        views = np.broadcast_to(channels[:, None, None], (48, 6, 8)).copy()
        sample = {
            "goal_pose": np.eye(4),
            "cur_img": spoiler.array(views[:6]),
            "next_img": spoiler.array(views[6:]),
            "goal_img": views[:6],
            "robot_traj": spoiler.array(np.concatenate([0.01 * steps, (0.1 + number) * steps])),
            "ped_traj": np.zeros(10),
        }
        (folder / f"{number:08d}.pkl").write_bytes(pickle.dumps(sample, protocol=3))


def write_frodobots(folder: Path, spoiler: Spoiler) -> None:
    import av

    start, frames = 1_715_000_000.0, 40  # s; at 20 Hz
    for ride in (7, 8):
        place = folder / f"ride_{ride}_2024050612345{ride}"
        (place / "recordings").mkdir(parents=True)
        name = f"abc_ride_{ride}__uid_s_1000__uid_e_video"
        path = place / "recordings" / f"{name}_0.ts"
        with av.open(str(path), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=20)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for index in range(frames):
                image = _pixels(index // 4)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        playlist = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXTINF:2.0,", path.name, "#EXT-X-ENDLIST", ""]
        (place / "recordings" / f"{name}.m3u8").write_text("\n".join(playlist))
        clock = spoiler.numbers(start + np.arange(frames) / 20)
        pushes = spoiler.numbers(np.linspace(0, 1, 20))
        fixes = spoiler.numbers(np.array([52.0, 52.1]))
        cells = json.dumps([["0.0", "0.1", "9.8", str(start + i / 100)] for i in range(200)])
        turns = json.dumps([["1.0", "2.0", "3.0", str(start + i)] for i in range(2)])
        quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in (turns, cells, turns))
        tables = {
            "front_camera_timestamps": ["frame_id,timestamp"]
            + [f"{i},{time:.3f}" for i, time in enumerate(clock)],
            "control_data": ["linear,angular,rpm_1,rpm_2,rpm_3,rpm_4,timestamp"]
            + [f"{v},-0.5,1,1,1,1,{start + i / 10:.3f}" for i, v in enumerate(pushes)],
            "gps_data": ["latitude,longitude,timestamp"]
            + [f"{fix},4.0,{1000 * (start + i):.0f}" for i, fix in enumerate(fixes)],
            "imu_data": ["compass,accelerometer,gyroscope,timestamp", f"{quoted},{start * 1000}"],
        }
        for kind, lines in tables.items():
            (place / f"{kind}_{ride}.csv").write_text("\n".join(lines) + "\n")


def _frames() -> list[bytes]:
    return [jpeg(step) for step in range(2 * STEPS)]


SAMPLES = (
    Sample("gnm", "gnm", write_gnm),
    Sample("recon", "recon", write_recon),
    Sample("badgr", "badgr", write_badgr),
    Sample("bag-ros1", "bag", lambda to, by: sample_bags.write_ros1(to, by, jpeg(0))),
    Sample("bag-sqlite3", "bag", lambda to, by: sample_bags.write_sqlite3(to, by, jpeg(0))),
    Sample("bag-mcap", "bag", lambda to, by: sample_bags.write_mcap(to, by, jpeg(0))),
    Sample("bag-packed", "bag", lambda to, by: sample_bags.write_packed(to, by, jpeg(0))),
    Sample("donkeycar", "donkeycar", write_donkeycar),
    Sample(
        "lerobot",
        "lerobot",
        lambda to, by: sample_stores.write_lerobot(to, by, _frames(), images=False),
    ),
    Sample(
        "lerobot-images",
        "lerobot",
        lambda to, by: sample_stores.write_lerobot(to, by, _frames(), images=True),
    ),
    Sample("frodobots", "frodobots", write_frodobots),
    Sample("ogbench", "ogbench", write_ogbench),
    Sample("ogbench-visual", "ogbench", write_ogbench_visual),
    Sample("minari", "minari", write_minari),
    Sample("images", "images", write_images),
    Sample("sacson", "sacson", write_sacson),
    Sample("store-v1", "", lambda to, by: sample_stores.write_version_1(to, by, _frames())),
    Sample("store-v2", "", lambda to, by: sample_stores.write_version_2(to, by, _frames())),
)
