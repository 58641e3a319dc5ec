"""An exported bundle is whole, agrees with torch and leaks nothing; a failed one leaves nothing."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime import load_bundle
from nav_offrl_export import export_bundle


def test_bundle_agrees_with_torch_at_batch_sizes_never_traced(exported):
    bundle = load_bundle(exported.path)
    for batch in (1, 3, 9):
        frames = torch.from_numpy(exported.images[:batch])
        with torch.inference_mode():
            latent = exported.modules.encoder.eval()(frames)
            goal = latent.roll(1, 0)
            action = exported.modules.policy.eval()(latent, goal)
            steps = exported.modules.distance.eval()(latent, goal)
        latent_found = bundle.encode(frames.numpy())
        np.testing.assert_allclose(latent_found, latent, atol=1e-4)
        np.testing.assert_allclose(bundle.act(latent.numpy(), goal.numpy()), action, atol=1e-5)
        found = bundle.steps_to_goal(latent.numpy(), goal.numpy())
        assert found.shape == (batch,)
        np.testing.assert_allclose(found, steps, rtol=1e-4)


def test_contract_records_parity_latency_and_provenance(exported):
    contract = json.loads((exported.path / "bundle.json").read_text())
    assert contract["parity"]["batch_sizes"] == [1, 2, 7]
    assert contract["parity"]["frames"] == len(exported.images)
    for error in contract["parity"]["relative_error"].values():
        assert 0.0 <= error <= contract["parity"]["tolerance"] == 1e-4
    for timing in contract["latency"]["graphs"].values():
        assert 0.0 < timing["p50_ms"] <= timing["p99_ms"]
    assert contract["provenance"]["seed"] == 7
    assert contract["provenance"]["torch_version"] == torch.__version__
    card = (exported.path / "model_card.md").read_text()
    assert "60 x 80" in card and "seed: 7" in card


def test_graphs_leak_no_source_paths(exported):
    here = str(Path(__file__).parent).encode()
    for file in exported.path.glob("*.onnx"):
        data = file.read_bytes()
        assert b"stack_trace" not in data and b".py" not in data and here not in data
        assert not any(node.metadata_props for node in onnx.load(str(file)).graph.node)


@pytest.mark.parametrize("name", ["encoder", "policy", "distance"])
def test_weights_that_are_not_finite_are_refused(name, modules, fields, images, tmp_path):
    next(getattr(modules, name).parameters()).data.view(-1)[0] = float("nan")
    with pytest.raises(NavOffrlError, match=f"{name}.*not finite"):
        export_bundle(modules, fields, tmp_path / "bundle", images, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_export_that_differs_from_torch_is_refused(modules, fields, images, tmp_path):
    with pytest.raises(NavOffrlError, match="differs from torch"):
        export_bundle(modules, fields, tmp_path / "bundle", images, tolerance=1e-12, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_policy_beyond_its_limits_is_refused(modules, fields, images, tmp_path):
    fields["action"] = {"low": (0.0, -0.01), "high": (0.01, 0.01)}
    with pytest.raises(NavOffrlError, match="beyond the limits"):
        export_bundle(modules, fields, tmp_path / "bundle", images, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(modules, fields, images, tmp_path):
    with pytest.raises(NavOffrlError, match=r"images.*frames are uint8"):
        export_bundle(modules, fields, tmp_path / "bundle", images[:, :30], progress=False)
    assert list(tmp_path.iterdir()) == []


def test_unknown_contract_field_is_named(modules, fields, images, tmp_path):
    with pytest.raises(NavOffrlError, match="colour_space"):
        export_bundle(
            modules,
            {**fields, "colour_space": "rgb"},
            tmp_path / "bundle",
            images,
            latency_runs=2,
            progress=False,
        )
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_kept_unless_overwriting_is_allowed(modules, fields, images, tmp_path):
    output = tmp_path / "bundle"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(NavOffrlError, match="exists already"):
        export_bundle(modules, fields, output, images, progress=False)
    with pytest.raises(NavOffrlError, match="not a bundle"):
        export_bundle(modules, fields, output, images, overwrite=True, progress=False)
    assert (output / "notes.txt").read_text() == "mine"

    (output / "bundle.json").write_text("{}")
    modules.encoder.train()
    export_bundle(modules, fields, output, images, overwrite=True, latency_runs=2, progress=False)
    assert modules.encoder.training
    assert load_bundle(output).contract.method == "iql"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert not (output / "notes.txt").exists()
