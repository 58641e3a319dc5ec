"""bundle.json round-trips, and every way of being wrong is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime.contract import parse_contract


@pytest.fixture
def values(bundle_path: Path) -> dict[str, Any]:
    return json.loads((bundle_path / "bundle.json").read_text())


def parse(values: Any) -> Any:
    return parse_contract(json.dumps(values), "bundle.json")


def test_round_trip(values):
    contract = parse(values)
    assert parse_contract(contract.model_dump_json(), "again") == contract


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("colour",), "red", "colour.*known fields"),
        (("camera", "depth"), 3, "camera.depth"),
        (("graphs", "planner"), {}, "graphs.planner"),
        (("version",), 2, "upgrade nav-offrl"),
        (("version",), 0, "version"),
        (("format",), "onnx", "format"),
        (("rate_hz",), float("nan"), "rate_hz"),
        (("rate_hz",), 0.0, "rate_hz"),
        (("arrival_steps",), float("inf"), "arrival_steps"),
        (("action", "low"), [2.0, -1.0], "must be below high"),
        (("action", "low"), [0.2, -1.0], "must contain 0"),
        (("action", "high"), [float("nan"), 1.0], "action.high"),
        (("action", "units"), ["km/h", "rad/s"], "action.units"),
        (("camera", "encoding"), "bgr8", "encoding must be 'rgb8'"),
        (("camera", "height"), 48, "graphs.encoder.inputs must be"),
        (("embedding_size",), 4, "outputs must be"),
        (("graphs", "policy", "file"), "../policy.onnx", "graphs.policy.file"),
        (("graphs", "policy", "file"), "encoder.onnx", "different files"),
        (("graphs", "policy", "sha256"), "0" * 63, "graphs.policy.sha256"),
    ],
)
def test_wrong_field_is_named(values, path, value, message):
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(NavOffrlError, match=message):
        parse(values)


@pytest.mark.parametrize("field", ["camera", "rate_hz", "graphs", "provenance"])
def test_missing_field_is_named(values, field):
    del values[field]
    with pytest.raises(NavOffrlError, match=field):
        parse(values)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '{"format": "nav_off'])
def test_other_text_is_refused(text):
    with pytest.raises(NavOffrlError, match=r"bundle\.json: "):
        parse_contract(text, "bundle.json")
