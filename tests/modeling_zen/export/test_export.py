"""`export_model` and `ZenExportedModel`: the same features, the same errors, and nothing half written."""

import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, pipeline
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from modeling_zen.export import ZenExportedModel, export_model, load_frames

KINDS = [(format, precision) for format in ("onnx", "openvino") for precision in ("fp32", "int8")]
FORMATS = ["onnx", "openvino"]
SIZE = (32, 48)
Make = Callable[..., Path]


def noise(batch: int, height: int = SIZE[0], width: int = SIZE[1]) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_float32_equals_the_model_at_every_batch_size(format: str, batch: int, exported: Make, tiny: ZenModel) -> None:
    model = ZenExportedModel.from_pretrained(exported(format, "fp32"), num_threads=1)
    found, right = model(noise(batch)), tiny(noise(batch))
    assert isinstance(found, BaseModelOutputWithPooling)
    torch.testing.assert_close(found.last_hidden_state, right.last_hidden_state, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pooler_output, right.pooler_output, atol=1e-4, rtol=0)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(48, 80), (16, 16), (64, 32)])
def test_a_graph_without_fixed_size_takes_every_multiple_of_the_patch(
    format: str, height: int, width: int, exported: Make, tiny: ZenModel
) -> None:
    model = ZenExportedModel.from_pretrained(exported(format, "fp32", None), num_threads=1)
    assert model.size is None
    for batch in (1, 3):
        pixels = noise(batch, height, width)
        right = tiny(pixels).last_hidden_state
        torch.testing.assert_close(model(pixels).last_hidden_state, right, atol=1e-4, rtol=0)


@pytest.mark.parametrize("format", FORMATS)
def test_int8_keeps_the_features_and_says_how_well(format: str, exported: Make, tiny: ZenModel, frames: Path) -> None:
    folder = exported(format, "int8")
    pixels, _ = load_frames(frames, AutoImageProcessor.from_pretrained(folder))
    found = ZenExportedModel.from_pretrained(folder, num_threads=1)(pixels).pooler_output
    assert torch.nn.functional.cosine_similarity(found, tiny(pixels).pooler_output).mean() > 0.98
    assert not torch.equal(found, tiny(pixels).pooler_output)
    facts = json.loads((folder / "export.json").read_text())
    held_out = 20 if format == "onnx" else 4
    assert facts["frames"] == {"given": 20, "calibrated": 20 - held_out}
    assert facts["parity"]["frames"] == held_out
    assert min(facts["parity"][tokens]["cosine_mean"] for tokens in ("pooler", "dense")) >= 0.99
    assert facts["parity"]["probe"]["before"] == facts["parity"]["probe"]["after"] == 1.0


@pytest.mark.parametrize("format", FORMATS)
def test_int8_without_fixed_size(format: str, exported: Make, tiny: ZenModel, frames: Path) -> None:
    model = ZenExportedModel.from_pretrained(exported(format, "int8", None), num_threads=1)
    pixels, _ = load_frames(frames, ZenImageProcessor(size={"height": 48, "width": 32}))
    cosine = torch.nn.functional.cosine_similarity(model(pixels).pooler_output, tiny(pixels).pooler_output)
    assert cosine.mean() > 0.98


@pytest.mark.parametrize(("format", "precision"), KINDS)
def test_the_folder_holds_exactly_what_it_needs(format: str, precision: str, exported: Make) -> None:
    folder = exported(format, precision)
    graph = {"model.onnx"} if format == "onnx" else {"openvino_model.xml", "openvino_model.bin"}
    assert {file.name for file in folder.iterdir()} == graph | {
        "config.json",
        "preprocessor_config.json",
        "export.json",
    }
    facts = json.loads((folder / "export.json").read_text())
    assert (facts["format"], facts["precision"]) == (format, precision)
    assert facts["input"] == {"height": 32, "width": 48}
    assert len(facts["source_weights_sha256"]) == 64
    for file in folder.iterdir():  # no path of the machine it was made on
        assert str(Path(__file__).parents[3]).encode() not in file.read_bytes()
        assert str(folder.parent.parent).encode() not in file.read_bytes()
    assert isinstance(AutoImageProcessor.from_pretrained(folder), ZenImageProcessor)
    assert {path.name[0] for path in folder.parent.iterdir()} != {"."}


def test_it_stands_in_for_the_model(exported: Make, tiny: ZenModel) -> None:
    model = ZenExportedModel.from_pretrained(exported("onnx", "fp32"))
    pixels = noise(2)
    states = model(pixels).last_hidden_state
    assert model.dense_tokens(states, 32, 48).shape == (2, 32, 2, 3)
    torch.testing.assert_close(model.summary_tokens(states).mean(dim=1), model(pixels).pooler_output)
    assert model.config.hidden_size == tiny.config.hidden_size
    assert (model.device, model.dtype, model.training) == (torch.device("cpu"), torch.float32, False)
    assert model.eval() is model
    assert model.to("cpu") is model
    assert isinstance(model(pixels, return_dict=False), tuple)
    assert model(pixels.half().double(), output_attentions=False).pooler_output.dtype == torch.float32


def test_the_pipeline_takes_it(exported: Make, frames: Path) -> None:
    folder = exported("onnx", "fp32")
    pipe = pipeline(  # type: ignore[call-overload]  # its annotation knows PreTrainedModel only
        "image-feature-extraction",
        model=ZenExportedModel.from_pretrained(folder),
        image_processor=AutoImageProcessor.from_pretrained(folder),
    )
    paths = [str(path) for path in sorted(frames.rglob("*.png"))[:3]]
    assert torch.tensor(pipe(paths, pool=True, batch_size=2)).shape == (3, 1, 32)


@pytest.mark.parametrize("format", FORMATS)
def test_threads_share_one_model(format: str, exported: Make) -> None:
    model = ZenExportedModel.from_pretrained(exported(format, "fp32"), num_threads=1)
    batches = [noise(1 + index % 4) for index in range(24)]
    right = [model(batch).pooler_output for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: model(batch).pooler_output, batches))
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 64, 48), r"exported for images of 32 x 48 pixels \(height x width\), not 64 x 48"),
        (torch.zeros(1, 3, 33, 48), r"height 33 \(nearest: 32 or 48\)"),
        (torch.zeros(1, 4, 32, 48), r"pixel_values must be \(batch, 3, height, width\)"),
        (torch.zeros(1, 3, 32, 48, dtype=torch.uint8), "normalised floating point numbers, not torch.uint8"),
        (torch.zeros(0, 3, 32, 48), "holds no frame"),
        (torch.full((1, 3, 32, 48), torch.nan), "NaN"),
    ],
)
def test_wrong_input_is_refused_as_by_the_model(pixels: torch.Tensor, message: str, exported: Make) -> None:
    with pytest.raises(ValueError, match=message):
        ZenExportedModel.from_pretrained(exported("onnx", "fp32"))(pixels)


def test_what_a_graph_cannot_do_is_refused(exported: Make) -> None:
    model = ZenExportedModel.from_pretrained(exported("onnx", "fp32"))
    with pytest.raises(ValueError, match="output_hidden_states needs ZenModel"):
        model(noise(1), output_hidden_states=True)
    with pytest.raises(ValueError, match="cannot be trained"):
        model.train()
    with pytest.raises(ValueError, match="runs on the CPU in float32, not on cuda"):
        model.to("cuda")
    with pytest.raises(ValueError, match=r"not on cpu in torch\.float16"):
        model.to(torch.float16)
    with pytest.raises(ValueError, match="num_threads must be at least 1"):
        ZenExportedModel.from_pretrained(exported("onnx", "fp32"), num_threads=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'; there are onnx, openvino"),
        ({"precision": "bf16"}, "unknown precision 'bf16'; there are fp32, int8"),
        ({"precision": "int8"}, "int8 needs real frames .* give calibration, at least 16"),
        ({"size": (30, 48)}, r"height 30 \(nearest: 16 or 32\)"),
        ({"labeled": True}, "give calibration too"),
        ({"calibration": [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 15}, "holds 15 frames; at least 16"),
    ],
)
def test_wrong_orders_write_nothing(options: dict[str, Any], message: str, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_model(saved, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_other_mistakes_write_nothing(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists; remove it or name another folder"):
        export_model(saved, tmp_path / "out")
    (tmp_path / "out").rmdir()
    shape: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 32}
    learned = ZenModel(ZenConfig(**shape, position_embedding="learned"))
    with pytest.raises(ValueError, match="a model with learned positions is exported for one size only"):
        export_model(learned, tmp_path / "out", size=None)
    with pytest.raises(ValueError, match="must be a ZenModel, a folder or a Hub id, not a int"):
        export_model(3, tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the mean cosine of its pooler features is .* at least 1\.1 is wanted"):
        export_model(saved, tmp_path / "out", min_cosine=1.1)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r'the package openvino.*pip install "zen-surgical\[export\]"'):
        export_model(saved, tmp_path / "out", format="openvino")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_folders_are_refused(format: str, exported: Make, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported(format, "fp32"), folder)
    graph = folder / ("model.onnx" if format == "onnx" else "openvino_model.bin")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-100])
    with pytest.raises(
        ValueError, match=rf"{graph.name} is incomplete: it has {len(whole) - 100} of {len(whole)} bytes"
    ):
        ZenExportedModel.from_pretrained(folder)
    graph = folder / ("model.onnx" if format == "onnx" else "openvino_model.xml")
    graph.write_bytes(b"\0" * (len(whole) if format == "onnx" else graph.stat().st_size))
    shutil.copy(exported(format, "fp32") / "config.json", folder)
    if format == "openvino":
        shutil.copy(exported(format, "fp32") / "openvino_model.bin", folder)
    with pytest.raises(ValueError, match=f"{graph.name} cannot be loaded, it is damaged or of a newer version"):
        ZenExportedModel.from_pretrained(folder)
    (folder / "export.json").write_text('{"format": "onnx"')
    with pytest.raises(ValueError, match=r"export\.json cannot be read as the facts of an exported model"):
        ZenExportedModel.from_pretrained(folder)


def test_wrong_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ZenExportedModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"is no exported model: it holds no export\.json"):
        ZenExportedModel.from_pretrained(saved)


def test_nothing_is_reported_to_anybody(exported: Make) -> None:
    ZenExportedModel.from_pretrained(exported("openvino", "fp32"))
    assert sys.modules["openvino_telemetry"] is None
