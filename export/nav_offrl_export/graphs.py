"""One torch module to the bytes of one ONNX graph."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from nav_offrl.errors import NavOffrlError

OPSET = 21  # the first in which GroupNorm stays one node
MAX_BATCH = 1024


def frozen_copy(module: nn.Module, name: str) -> nn.Module:
    """Return a copy on the CPU in evaluation mode, after looking at every weight.

    Raises:
        NavOffrlError: a parameter or buffer holds NaN or infinity.
    """
    module = copy.deepcopy(module).cpu().eval()
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NavOffrlError(
                f"weight '{key}' is not finite",
                where=name,
                remedy="training diverged; export an earlier checkpoint or train again",
            )
    return module


def to_onnx(
    module: nn.Module, name: str, example: dict[str, torch.Tensor], output_name: str
) -> bytes:
    """Trace `module` into an ONNX graph whose first dimension is free.

    Args:
        module: its forward takes the example's tensors in their order and returns one tensor.
        name: of the graph, for messages.
        example: input name to tensor; the batch must be larger than 1, else torch bakes it in.
        output_name: name of the output.

    Raises:
        NavOffrlError: torch cannot express the module in ONNX.
    """
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "graph.onnx"
        try:
            torch.onnx.export(
                module,
                tuple(example.values()),
                str(file),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                dynamic_shapes=tuple({0: batch} for _ in example),
                input_names=list(example),
                output_names=[output_name],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            first_line = str(error).strip().split("\n")[0]
            raise NavOffrlError(
                f"torch cannot express this module in ONNX ({first_line})",
                where=name,
                remedy="use operators that torch.onnx supports in its forward",
            ) from error
        model = onnx.load(str(file))
    strip_traces(model)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove the stack traces that torch writes into every node: they leak local paths."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
    for graph in (model.graph,):
        for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
            del value.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch says about its own internals while it exports."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
