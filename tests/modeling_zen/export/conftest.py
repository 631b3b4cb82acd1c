"""Shared by the tests of exporting: a tiny model, its frames, and each kind of export made once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from modeling_zen.export import export_model, exporter, graph

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_summary_tokens": 2,
    "num_register_tokens": 3,
    "image_size": [32, 48],
    "initializer_range": 0.1,  # large: the layers must change what passes through them
    "layerscale_value": 1.0,
}


@pytest.fixture(scope="session")
def tiny() -> ZenModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ZenModel(ZenConfig(**TINY)).eval()


@pytest.fixture(scope="session")
def saved(tiny: ZenModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the tiny model; its processor makes images of 32 x 48 pixels."""
    folder = tmp_path_factory.mktemp("saved") / "zen"
    tiny.save_pretrained(folder)
    ZenImageProcessor(size={"height": 32, "width": 48}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images, ten in each of the folders `dark` and `light`."""
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    for index in range(20):
        name, level = (("dark", 0), ("light", 128))[index % 2]
        (folder / name).mkdir(exist_ok=True)
        pixels = level + random.integers(0, 128, (40, 60, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:02}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def traced_once() -> Iterator[None]:
    """Tracing is most of the time of an export: the same model at the same size is traced once for all tests."""
    graphs: dict[tuple[str, Any], bytes] = {}
    trace = graph.write_onnx

    def write(model: ZenModel, path: Path, size: tuple[int, int] | None) -> None:
        key = (exporter.weights_sha256(model), size)
        if key not in graphs:
            trace(model, path, size)
            graphs[key] = path.read_bytes()
        path.write_bytes(graphs[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "write_onnx", write)
        yield


@pytest.fixture(scope="session")
def exported(saved: Path, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported(format, precision, size="processor")`: a folder, made when first asked for."""
    made: dict[tuple[Any, ...], Path] = {}
    root = tmp_path_factory.mktemp("exported")

    def make(format: Any, precision: Any, size: Any = "processor") -> Path:
        key = (format, precision, size)
        if key not in made:
            made[key] = export_model(
                saved,
                root / str(len(made)),
                format=format,
                precision=precision,
                size=size,
                calibration=frames if precision == "int8" else None,
                labeled=precision == "int8",
            )
        return made[key]

    return make
