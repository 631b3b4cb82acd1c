"""float32 graphs to int8, with the settings that were measured to keep the features.

What was measured: a nano model pretrained on real frames, cosine between its features before and after on 64 held-out
laparoscopic frames (pooled / dense, mean), and images per second on a CPU with AVX2 but no int8 instructions (VNNI).

- ONNX Runtime, dynamic (activations are scaled per batch): 0.9996 / 0.9997. Static, 64 calibration frames, QDQ format:
  0.9991 / 0.9994 and never quicker. So `to_int8_onnx` is dynamic and has no other way.
- OpenVINO through NNCF: with the ranges NNCF takes by default (the mean over frames of each frame's extremes) 0.9966 /
  0.9970, and 0.83 for the worst patch: a few tokens have activations far beyond the mean extreme, and are clipped. With
  the extremes over all calibration frames 0.9990 / 0.9993, worst patch 0.994. SmoothQuant at any strength, bias
  correction and symmetric or mixed presets change these in the fourth digit only, so they stay as NNCF has them.
- Products of queries, keys and values stay float32: quantised they cost accuracy (worst patch 0.990 in place of 0.994)
  and gained no speed.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from modeling_zen.export.graph import INPUT, OUTPUTS
from modeling_zen.export.packages import import_optional


def to_int8_onnx(source: Path, target: Path) -> dict[str, Any]:
    """Quantise the linear layers of an ONNX graph: int8 weights per channel, activations scaled when they come.

    Weights use 7 of the 8 bits: CPUs without VNNI add two products in 16 bits, which full weights overflow silently.
    So the same file gives the same features on every CPU.

    Args:
        source: The float32 graph.
        target: Where the quantised one is written.

    Returns:
        What was done, for `export.json`.
    """
    quantization = import_optional("onnxruntime.quantization")
    pre_process = import_optional("onnxruntime.quantization.shape_inference").quant_pre_process
    prepared = target.with_suffix(".prepared.onnx")
    try:
        # Shapes of the whole graph are not needed for this, and the symbolic inference of them wants another package.
        pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    finally:
        prepared.unlink(missing_ok=True)
    return {"method": "onnxruntime dynamic", "per_channel": True, "reduce_range": True}


def to_int8_openvino(graph: Any, pixel_values: torch.Tensor) -> tuple[Any, dict[str, Any]]:
    """Quantise an OpenVINO graph: int8 weights per channel, activations by the ranges seen on calibration frames.

    Args:
        graph: `openvino.Model`, float32.
        pixel_values: (frames, channels, height, width), float32, normalised.

    Returns:
        The quantised `openvino.Model`, and what was done, for `export.json`.
    """
    nncf = import_optional("nncf")
    estimators = import_optional("nncf.quantization.range_estimator").RangeEstimatorParametersSet
    nncf.set_log_level(logging.ERROR)
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(list(pixel_values.split(1)), lambda frame: {INPUT: frame.numpy()}),
        subset_size=len(pixel_values),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(names=list(_attention_products(graph))),
        advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=estimators.MINMAX),
    )
    return quantized, {"method": "nncf post-training", "ranges": "minmax", "attention": "fp32"}


def _attention_products(graph: Any) -> Iterator[str]:
    """Names of the matrix products of two activations; those of the linear layers have a constant side."""
    for node in graph.get_ops():
        if node.get_type_name() == "MatMul":
            sides = [side.get_source_output().get_node().get_type_name() for side in node.inputs()]
            if "Constant" not in sides:
                yield node.get_friendly_name()


def read_openvino(onnx_path: Path) -> Any:
    """An ONNX graph as `openvino.Model`, its outputs named as in ONNX.

    Raises:
        ImportError: openvino is missing.
    """
    graph = import_optional("openvino").Core().read_model(str(onnx_path))
    for output, name in zip(graph.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    return graph
