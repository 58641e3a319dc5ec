"""A bundle without training, for trying out and testing whatever consumes bundles.

Its latent is the mean colour of the frame (D = 3, each in 0..1). It predicts
`steps = 100 * sum |latent - goal|`, drives forward at half the speed limit and turns at
`(red - goal red) * turn rate limit`. A robot that runs it goes nowhere in particular.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nav_offrl.runtime.contract import (
    CONTRACT_FILE,
    ActionContract,
    BundleContract,
    CameraContract,
    GraphContract,
    GraphSet,
    expected_tensors,
)

STEPS_PER_COLOUR = 100.0
_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def write_example_bundle(
    path: Path,
    *,
    height: int = 24,
    width: int = 32,
    horizontal_fov: float | None = None,
    rate_hz: float = 10.0,
    low: tuple[float, float] = (0.0, -1.0),
    high: tuple[float, float] = (1.0, 1.0),
    arrival_steps: float = 2.0,
    policy_gain: float = 1.0,
) -> Path:
    """Write the example bundle into the new folder `path`.

    Args:
        path: folder to make.
        height: image height (pixels).
        width: image width (pixels).
        horizontal_fov: rad, or None.
        rate_hz: Hz.
        low: lowest command (m/s, rad/s).
        high: highest command (m/s, rad/s).
        arrival_steps: predicted steps at which the robot is at the goal.
        policy_gain: multiplies the turn; NaN makes a broken policy.
    """
    camera = CameraContract(height=height, width=width, horizontal_fov=horizontal_fov)
    path.mkdir(parents=True)
    models = {
        "encoder": _encoder(),
        "policy": _policy(high, policy_gain),
        "distance": _distance(),
    }
    graphs = {}
    for name, (inputs, outputs) in expected_tensors(camera, 3).items():
        nodes, constants = models[name]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(k, _TYPES[t.dtype], t.shape) for k, t in inputs.items()],
            [
                helper.make_tensor_value_info(k, _TYPES[t.dtype], t.shape)
                for k, t in outputs.items()
            ],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        (path / f"{name}.onnx").write_bytes(data)
        graphs[name] = GraphContract(
            file=f"{name}.onnx",
            sha256=hashlib.sha256(data).hexdigest(),
            inputs=inputs,
            outputs=outputs,
        )
    contract = BundleContract(
        method="example",
        camera=camera,
        rate_hz=rate_hz,
        action=ActionContract(low=low, high=high),
        embedding_size=3,
        arrival_steps=arrival_steps,
        graphs=GraphSet(**graphs),
        provenance={"note": "written by hand, not trained"},
    )
    (path / CONTRACT_FILE).write_text(contract.model_dump_json(indent=2), encoding="utf-8")
    return path


Graph = tuple[list[onnx.NodeProto], dict[str, np.ndarray]]


def _encoder() -> Graph:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["latent"]),
    ]
    return nodes, {"axes": np.array([1, 2]), "full": np.array(255.0, np.float32)}


def _policy(high: tuple[float, float], gain: float) -> Graph:
    nodes = [
        helper.make_node("Sub", ["latent", "goal_latent"], ["difference"]),
        helper.make_node("MatMul", ["difference", "turn"], ["turning"]),
        helper.make_node("Add", ["turning", "forward"], ["action"]),
    ]
    turn = np.zeros((3, 2), np.float32)
    turn[0, 1] = high[1] * gain
    return nodes, {"turn": turn, "forward": np.array([high[0] / 2, 0.0], np.float32)}


def _distance() -> Graph:
    nodes = [
        helper.make_node("Sub", ["latent", "goal_latent"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distances"]),
        helper.make_node("ReduceSum", ["distances", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "scale"], ["steps"]),
    ]
    return nodes, {"axes": np.array([1]), "scale": np.array(STEPS_PER_COLOUR, np.float32)}
