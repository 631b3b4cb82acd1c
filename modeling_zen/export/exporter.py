"""`export_model`: a ZEN model as a folder with an ONNX or OpenVINO graph, measured against the model itself."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoImageProcessor

from modeling_zen.configuration_zen import ZenConfig
from modeling_zen.export.frames import DEFAULT_FRAMES, Source, load_frames
from modeling_zen.export.graph import for_export, write_onnx
from modeling_zen.export.packages import import_optional
from modeling_zen.export.parity import parity_report
from modeling_zen.export.quantization import read_openvino, to_int8_onnx, to_int8_openvino
from modeling_zen.export.runtime import FACTS, GRAPHS, ZenExportedModel
from modeling_zen.image_processing_zen import ZenImageProcessor
from modeling_zen.modeling_zen import ZenModel

PRECISIONS = ("fp32", "int8")
MIN_CALIBRATION = 16  # frames; below, ranges and mean cosines say nothing about the next video
PARITY_SHARE = 5  # one frame in five is not calibrated with: parity is measured on it
MIN_COSINE = {"fp32": 0.99999, "int8": 0.99}  # mean over frames and over patches; int8: the aim of this project
_PACKAGES = {
    ("onnx", "fp32"): ("onnx", "onnxscript", "onnxruntime"),
    ("onnx", "int8"): ("onnx", "onnxscript", "onnxruntime"),
    ("openvino", "fp32"): ("onnx", "onnxscript", "openvino"),
    ("openvino", "int8"): ("onnx", "onnxscript", "openvino", "nncf"),
}
_ALWAYS = ("torch", "transformers")  # packages


def export_model(
    model: ZenModel | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: Literal["onnx", "openvino"] = "onnx",
    precision: Literal["fp32", "int8"] = "fp32",
    size: tuple[int, int] | Literal["processor"] | None = "processor",
    calibration: Source | None = None,
    labeled: bool = False,
    max_frames: int = DEFAULT_FRAMES,
    min_cosine: float | None = None,
    processor: ZenImageProcessor | None = None,
) -> Path:
    """Export the encoder and measure what it lost.

    Which to take: int8 gains most. On CPUs without int8 instructions (VNNI; before Intel's Ice Lake and AMD's Zen 4)
    that is ONNX; with them OpenVINO may be quicker: measure both. There is no bfloat16: it is slower than float32 on
    CPUs without AMX.

    Args:
        model: A `ZenModel`, or the folder or Hub id of any ZEN model (the encoder is exported, not the head).
        output: The folder to write; it must not exist. It appears only once it is complete.
        format: `"onnx"` (onnxruntime) or `"openvino"`.
        precision: `"fp32"`, or `"int8"` (weights and activations of linear layers; see `quantization`).
        size: (height, width) in pixels that the graph is fixed to; `"processor"` is what the image processor makes;
            `None` takes every multiple of the patch. The batch size is always free.
        calibration: Real frames as `load_frames` takes them, at least 16, as varied as what the model will see (what
            lies outside of the ranges seen here, OpenVINO's int8 clips).
            `"int8"` needs them: OpenVINO takes its ranges from four in five, and parity is measured on the fifth
            (ONNX takes no ranges and measures on all). With `"fp32"` parity is measured on them, else on noise.
        labeled: The folders right below the folder `calibration` are classes; the report then has a probe score.
        max_frames: At most so many frames are taken from `calibration`, evenly spread.
        min_cosine: Least mean cosine, of pooled features and of patches, that is accepted; `None` is 0.99 for int8
            and 0.99999 for fp32.
        processor: Of the model; `None` reads it from the folder, or is `ZenImageProcessor()` for a model in memory.

    Returns:
        The folder: the graph, config.json, preprocessor_config.json and export.json with the facts and the parity
        report. `ZenExportedModel.from_pretrained` loads it.

    Raises:
        FileExistsError: `output` exists.
        FileNotFoundError: A path of `calibration` does not exist.
        ImportError: An optional package is missing.
        ValueError: Unknown format or precision, a size off the grid, missing or too few frames, or an exported model
            that is not close enough to the original.
    """
    target = Path(output)
    _check_order(target, format, precision, calibration, labeled)
    encoder, processor = _load(model, processor)
    fixed = _processor_size(processor) if size == "processor" else size
    if fixed is not None:
        encoder.config.grid_size(*fixed)
        processor = ZenImageProcessor(**{**_settings(processor), "size": {"height": fixed[0], "width": fixed[1]}})
    frames, labels = _frames(calibration, processor, encoder.config, max_frames, labeled)
    measured = slice(None)
    if precision == "int8" and format == "openvino":
        measured = slice(PARITY_SHARE - 1, None, PARITY_SHARE)
    calibrating = torch.ones(len(frames), dtype=torch.bool)
    calibrating[measured] = False

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        partial.chmod(0o755)  # mkdtemp makes folders that others may not read
        quantization = _write_graph(encoder, partial, format, precision, fixed, frames[calibrating])
        _write_settings(encoder.config, processor, partial)
        facts = {
            "schema_version": 1,
            "format": format,
            "precision": precision,
            "quantization": quantization,
            "input": dict(zip(("height", "width"), fixed or (None, None), strict=True)),
            "frames": {"given": 0 if calibration is None else len(frames), "calibrated": int(calibrating.sum())},
            "source_weights_sha256": weights_sha256(encoder),
            "versions": {name: importlib.metadata.version(name) for name in (*_PACKAGES[format, precision], *_ALWAYS)},
            "files": {file.name: file.stat().st_size for file in sorted(partial.iterdir())},
        }
        _write_json(facts, partial / FACTS)
        exported = ZenExportedModel.from_pretrained(partial)
        parity = parity_report(encoder, exported, frames[measured], None if labels is None else labels[measured])
        _refuse_far(parity, MIN_COSINE[precision] if min_cosine is None else min_cosine)
        parity["on"] = "noise" if calibration is None else "frames of calibration"
        _write_json({**facts, "parity": parity}, partial / FACTS)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _check_order(target: Path, format: str, precision: str, calibration: Source | None, labeled: bool) -> None:
    """What can be refused before anything is loaded."""
    if format not in GRAPHS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(GRAPHS)}")
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if precision == "int8" and calibration is None:
        raise ValueError(
            f"int8 needs real frames to be calibrated and measured on: give calibration, at least {MIN_CALIBRATION}"
        )
    if labeled and calibration is None:
        raise ValueError("labeled says what the folders below calibration mean; give calibration too")
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or name another folder")
    for package in _PACKAGES[format, precision]:
        import_optional(package)


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all weights, sorted by name: as in the benchmark's records."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        values = weight.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load(model: Any, processor: ZenImageProcessor | None) -> tuple[ZenModel, ZenImageProcessor]:
    if isinstance(model, ZenModel):
        return for_export(model), ZenImageProcessor(**_settings(processor or ZenImageProcessor()))
    if not isinstance(model, str | os.PathLike):
        raise ValueError(f"model must be a ZenModel, a folder or a Hub id, not a {type(model).__name__}")
    encoder = for_export(ZenModel.from_pretrained(model))
    found = processor or AutoImageProcessor.from_pretrained(model)
    if not isinstance(found, ZenImageProcessor):
        raise ValueError(f"the image processor of {model} is a {type(found).__name__}, not a ZenImageProcessor")
    return encoder, ZenImageProcessor(**_settings(found))


def _settings(processor: ZenImageProcessor) -> dict[str, Any]:
    """Of a processor, without where its code is: that is not in the exported folder."""
    return {name: value for name, value in processor.to_dict().items() if name != "auto_map"}


def _processor_size(processor: ZenImageProcessor) -> tuple[int, int]:
    size = dict(processor.size)
    if size.keys() < {"height", "width"} or not size.get("height") or not size.get("width"):
        raise ValueError(f"the image processor makes no fixed size ({size}); give size=(height, width) or None")
    return int(size["height"]), int(size["width"])


def _frames(
    calibration: Source | None, processor: ZenImageProcessor, config: ZenConfig, limit: int, labeled: bool
) -> tuple[torch.Tensor, Sequence[Any] | None]:
    """Frames at the size of the processor; a fixed one was set there."""
    height, width = _processor_size(processor)
    if calibration is None:
        noise = torch.Generator().manual_seed(0)
        return torch.randn(2, config.num_channels, height, width, generator=noise), None
    frames, labels = load_frames(calibration, processor, limit=limit, labeled=labeled)
    if len(frames) < MIN_CALIBRATION:
        raise ValueError(f"calibration holds {len(frames)} frames; at least {MIN_CALIBRATION} are needed")
    return frames, labels


def _write_graph(
    model: ZenModel, folder: Path, format: str, precision: str, size: tuple[int, int] | None, frames: torch.Tensor
) -> dict[str, Any] | None:
    graph_path = folder / GRAPHS[format]
    traced = folder / "traced.onnx"
    write_onnx(model, traced, size)
    try:
        if format == "onnx":
            if precision == "int8":
                return to_int8_onnx(traced, graph_path)
            traced.rename(graph_path)
            return None
        graph, quantization = read_openvino(traced), None
        if precision == "int8":
            graph, quantization = to_int8_openvino(graph, frames)
        import_optional("openvino").save_model(graph, str(graph_path), compress_to_fp16=False)
        return quantization
    finally:
        traced.unlink(missing_ok=True)


def _write_settings(config: ZenConfig, processor: ZenImageProcessor, folder: Path) -> None:
    """config.json and preprocessor_config.json, pointing neither to code that is not here nor to where it came from."""
    stored = {name: value for name, value in config.to_diff_dict().items() if name not in ("auto_map", "_name_or_path")}
    _write_json({**stored, "architectures": ["ZenModel"]}, folder / "config.json")
    _write_json(_settings(processor), folder / "preprocessor_config.json")


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _refuse_far(parity: dict[str, Any], least: float) -> None:
    for tokens in ("pooler", "dense"):
        cosine = parity[tokens]["cosine_mean"]
        if not cosine >= least:
            raise ValueError(
                f"the exported model is not close enough to the original: the mean cosine of its {tokens} features is "
                f"{cosine:.5f} on {parity['frames']} frames, at least {least} is wanted (min_cosine)"
            )
