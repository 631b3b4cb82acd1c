"""From a checkpoint to a folder that AutoModel loads, through Python and the command line."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    BertModel,
    BitImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from modeling_zen import ZenModel
from modeling_zen.conversion import FAMILIES, convert, convert_checkpoint
from modeling_zen.conversion.__main__ import main

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "patch_size": 8,
    "image_size": 32,
}


@pytest.fixture
def original(randomise: Any) -> ViTModel:
    return randomise(ViTModel(ViTConfig(**TINY), add_pooling_layer=False))


@pytest.fixture
def folder(original: ViTModel, save_folder: Any) -> Path:
    return save_folder(original, ViTImageProcessor(size={"height": 32, "width": 32}))


def test_command_line(folder: Path, tmp_path: Path, original: Any, max_error: Any, capsys: Any) -> None:
    out = tmp_path / "deep" / "zen"
    main([str(folder), str(out), "--licence", "apache-2.0"])
    printed = capsys.readouterr().out
    assert "source (vit, licence apache-2.0) is now" in printed
    assert "38 weights became" in printed
    model = AutoModel.from_pretrained(out)
    assert isinstance(model, ZenModel)
    max_error(model.eval(), lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)
    assert AutoImageProcessor.from_pretrained(out).size["height"] == 32
    report = json.loads((out / "conversion.json").read_text())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert report["weights_sha256"] == {"model.safetensors": digest}
    assert (report["source"], report["family"], report["num_attention_heads"]) == ("source", "vit", 4)
    assert report["keys"]["mapped"] == 38
    assert str(tmp_path) not in json.dumps(report)
    assert [path.name for path in out.parent.iterdir()] == ["zen"]  # nothing unfinished is left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "vti"], "error: unknown family 'vti'; did you mean 'vit'\\? known are deit, dino, dinov2,"),
        (["--num-heads", "2"], "error: config.json of source says num_heads 4, not 2"),
        (["--num-register-tokens", "4"], "error: config.json of source says num_register_tokens 0, not 4"),
        (["--image-size", "48"], r"error: config.json of source says image_size \(32, 32\), not \(48, 48\)"),
        (["--image-size", "1", "2", "3"], r"error: image_size must be one number or \(height, width\)"),
        (["--licence", "cc-by-nc-4.0"], r"error: the weights of source are non-commercial \(cc-by-nc-4.0\)"),
    ],
)
def test_command_line_refuses(folder: Path, tmp_path: Path, arguments: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(folder), str(tmp_path / "zen"), *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(error)
    assert not (tmp_path / "zen").exists()


def test_help_lists_all_families(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in FAMILIES)


def test_out_is_not_empty(folder: Path) -> None:
    conversion = convert_checkpoint(folder)
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        conversion.save(folder)


def test_a_failed_save_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversion = convert_checkpoint(folder)
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(conversion.processor), "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        conversion.save(tmp_path / "zen")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_reproducible(folder: Path) -> None:
    first, second = convert(folder)[0].state_dict(), convert(folder)[0].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_trainable(folder: Path) -> None:
    model, _ = convert(folder)
    assert not model.training
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in model.parameters())


def test_another_model(save_folder: Any) -> None:
    bert = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="source is of model_type 'bert': name one of deit, dino"):
        convert(save_folder(bert))


def test_file_without_family(save_file: Any) -> None:
    with pytest.raises(ValueError, match=r"weights.pth does not tell its family: name one of deit, dino"):
        convert(save_file({"cls_token": torch.ones(1)}))


def test_file_of_a_family_with_config(save_file: Any) -> None:
    with pytest.raises(ValueError, match=r"family 'vit' needs a folder with a config.json"):
        convert(save_file({"cls_token": torch.ones(1)}), "vit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": "four"}, "config.json of source is not valid: .*num_attention_heads"),
        ({"num_attention_heads": 5}, "32 wide, which num_heads 5 does not divide into multiples of 4"),
        ({"patch_size": [8, 16]}, r"patches of \[8, 16\] pixels; ZEN has square ones"),
    ],
)
def test_config_that_is_wrong(folder: Path, change: dict[str, Any], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        convert(folder)


def test_processor_with_padding(folder: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "do_pad": True}))
    with pytest.raises(ValueError, match="processor of source has do_pad, which ZenImageProcessor cannot do"):
        convert(folder)


def test_processor_with_a_setting_of_its_own(folder: Path) -> None:
    """It enlarges, then cuts out 7/8, which shows in none of the other settings."""
    ConvNextImageProcessor(size={"shortest_edge": 32}).save_pretrained(folder)
    with pytest.raises(ValueError, match="processor of source has crop_pct, which ZenImageProcessor cannot do"):
        convert(folder)


@pytest.mark.parametrize("kind", [ViTImageProcessor, DeiTImageProcessor, BitImageProcessor, CLIPImageProcessor])
def test_processors_make_the_same_pixels(kind: Any, folder: Path) -> None:
    source = kind()
    source.save_pretrained(folder)
    image = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = source(image, return_tensors="pt").pixel_values
    assert torch.equal(convert(folder)[1](image, return_tensors="pt").pixel_values, wanted)


def test_options_are_never_ignored(folder: Path, original: Any, max_error: Any) -> None:
    """What the config says, the caller may say too."""
    model, _ = convert(folder, num_heads=4, num_register_tokens=0, image_size=[32, 32])
    max_error(model, lambda pixels: original(pixels, interpolate_pos_encoding=True).last_hidden_state)


def test_every_family_has_a_parity_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    told_by_config = {family.name for family in FAMILIES.values() if family.model_type}
    for name in FAMILIES.keys() - told_by_config:
        assert f'"{name}"' in tests
