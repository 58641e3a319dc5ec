"""A doubtful bundle is refused with the file, the field and a remedy; a good one runs."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import CameraContract, SessionConfig, load_bundle
from nav_offrl_export.example import write_example_bundle


def edit_contract(path: Path, **graphs: dict[str, str]) -> None:
    file = path / "bundle.json"
    values = json.loads(file.read_text())
    for name, fields in graphs.items():
        values["graphs"][name].update(fields)
    file.write_text(json.dumps(values))


def adopt(path: Path, name: str) -> None:
    """Make the contract agree with the changed file of graph `name`."""
    digest = hashlib.sha256((path / f"{name}.onnx").read_bytes()).hexdigest()
    edit_contract(path, **{name: {"sha256": digest}})


def test_good_bundle_computes_what_it_says(bundle_path):
    camera = CameraContract(height=24, width=32, horizontal_fov=1.52)
    bundle = load_bundle(bundle_path, camera, rate_hz=10.5)
    images = np.zeros((2, 24, 32, 3), np.uint8)
    images[1, ..., 0] = 255
    latent = bundle.encode(images)
    np.testing.assert_allclose(latent, [[0, 0, 0], [1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(bundle.steps_to_goal(latent, latent[::-1].copy()), [100, 100])
    np.testing.assert_allclose(bundle.act(latent, latent[:1].repeat(2, 0)), [[0.5, 0], [0.5, 1]])


def test_identity_follows_the_content(bundle_path, tmp_path):
    copy = shutil.copytree(bundle_path, tmp_path / "copy")
    other = write_example_bundle(tmp_path / "other", arrival_steps=5.0)
    identity = load_bundle(bundle_path).identity
    assert load_bundle(copy).identity == identity != load_bundle(other).identity


@pytest.mark.parametrize("graph", ["encoder", "policy", "distance"])
def test_flipped_byte_is_refused(bundle_path, graph):
    file = bundle_path / f"{graph}.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(NavOffrlError, match=rf"{graph}\.onnx: sha256 differs"):
        load_bundle(bundle_path)


def test_missing_graph_is_refused(bundle_path):
    (bundle_path / "distance.onnx").unlink()
    with pytest.raises(NavOffrlError, match=r"distance\.onnx: cannot be read"):
        load_bundle(bundle_path)


def test_unlisted_graph_is_refused(bundle_path):
    shutil.copy(bundle_path / "policy.onnx", bundle_path / "policy_old.onnx")
    with pytest.raises(NavOffrlError, match=r"does not list: policy_old\.onnx"):
        load_bundle(bundle_path)


def test_truncated_contract_is_refused_at_every_length(bundle_path):
    file = bundle_path / "bundle.json"
    text = file.read_text()
    for length in range(0, len(text), 97):
        file.write_text(text[:length])
        with pytest.raises(NavOffrlError, match=r"bundle\.json"):
            load_bundle(bundle_path)


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_folder_that_is_no_bundle_is_refused(tmp_path, where):
    with pytest.raises(NavOffrlError, match=r"bundle\.json cannot be read"):
        load_bundle(tmp_path / where)


@pytest.mark.parametrize(
    ("camera", "field"),
    [
        (CameraContract(height=48, width=32), "camera.height"),
        (CameraContract(height=24, width=64), "camera.width"),
        (CameraContract(height=24, width=32, encoding="bgr8"), "camera.encoding"),
        (CameraContract(height=24, width=32, horizontal_fov=1.2), "camera.horizontal_fov"),
    ],
)
def test_wrong_camera_is_refused(bundle_path, camera, field):
    with pytest.raises(NavOffrlError, match=field):
        load_bundle(bundle_path, camera)


@pytest.mark.parametrize("rate", [5.0, 20.0, float("nan"), -10.0])
def test_wrong_rate_is_refused(bundle_path, rate):
    with pytest.raises(NavOffrlError, match="rate_hz"):
        load_bundle(bundle_path, rate_hz=rate)


def test_graph_in_another_ones_place_is_refused(bundle_path):
    (bundle_path / "policy.onnx").write_bytes((bundle_path / "distance.onnx").read_bytes())
    adopt(bundle_path, "policy")
    with pytest.raises(NavOffrlError, match=r"policy\.onnx: outputs of the graph"):
        load_bundle(bundle_path)


def test_file_that_is_no_graph_is_refused(bundle_path):
    (bundle_path / "encoder.onnx").write_bytes(b"not a graph")
    adopt(bundle_path, "encoder")
    with pytest.raises(NavOffrlError, match=r"encoder\.onnx: ONNX Runtime .* cannot load"):
        load_bundle(bundle_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = write_example_bundle(tmp_path / "bundle", policy_gain=float("nan"))
    with pytest.raises(NavOffrlError, match="'policy' gives values that are not finite"):
        load_bundle(path)


def test_cpu_is_stated(bundle_path):
    bundle = load_bundle(bundle_path, session=SessionConfig(device="cpu"))
    assert bundle.provider == "CPUExecutionProvider"


@pytest.mark.skipif(
    any(found.ep_name != "CPUExecutionProvider" for found in onnxruntime.get_ep_devices()),
    reason="this machine has an accelerator",
)
def test_required_gpu_is_refused_without_one(bundle_path):
    with pytest.raises(NavOffrlError, match="device 'gpu' was asked for"):
        load_bundle(bundle_path, session=SessionConfig(device="gpu"))
