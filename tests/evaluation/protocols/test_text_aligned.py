import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from evaluation.protocols.text_aligned import NotTextAlignedError, load_text_aligned
from modeling_zen import ZenConfig, ZenForZeroShotImageClassification, ZenImageProcessor, ZenModel
from modeling_zen.teacher_adaptor import TeacherAdaptor
from tests.modeling_zen.text_models import PROMPTS, SHARED, TINY, make_teacher, make_tokenizer
from training.errors import UserError

CPU = torch.device("cpu")
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders clip and siglip with processors, vit, and zen without adaptors."""
    root = tmp_path_factory.mktemp("models")
    processors = {"clip": transformers.CLIPImageProcessor, "siglip": transformers.SiglipImageProcessor}
    for family, processor in processors.items():
        make_teacher(family).save_pretrained(root / family)
        make_tokenizer().save_pretrained(root / family)
        size = {"crop_size": {"height": 16, "width": 16}, "size": {"shortest_edge": 16}} if family == "clip" else {}
        processor(**(size or {"size": {"height": 16, "width": 16}})).save_pretrained(root / family)
    make_teacher("vit").save_pretrained(root / "vit")
    torch.manual_seed(0)
    ZenModel(ZenConfig(**TINY)).save_pretrained(root / "zen")
    ZenImageProcessor().save_pretrained(root / "zen")
    return root


def zen_with_adaptor(models: Path, folder: Path, repo: str, **facts: Any) -> TeacherAdaptor:
    shutil.copytree(models / "zen", folder)
    torch.manual_seed(1)
    adaptor = TeacherAdaptor(TINY["hidden_size"], 24, SHARED["siglip"], {})
    weights = {f"adaptor.{name}": weight for name, weight in adaptor.state_dict().items() if "block" not in name}
    (folder / "adaptors").mkdir()
    facts = {"name": "reader", "repo": repo, "revision": None, "tokens": "summary", **facts}
    file = folder / "adaptors" / "reader_summary.safetensors"
    save_file(weights, file, metadata={"adaptor": json.dumps(facts)})
    return adaptor.eval()


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_dual_encoders_compare_as_they_do_themselves(family: str, models: Path) -> None:
    aligned = load_text_aligned(str(models / family), CPU, image_size=32)
    model = transformers.AutoModel.from_pretrained(models / family).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(models / family)(
        [torch.from_numpy(frame).permute(2, 0, 1) for frame in FRAMES], return_tensors="pt"
    )
    padding = {"padding": "max_length", "max_length": 12} if family == "siglip" else {"padding": True}
    tokens = make_tokenizer()(PROMPTS, return_tensors="pt", **padding)
    mask = {"attention_mask": tokens["attention_mask"]} if family == "clip" else {}
    with torch.no_grad():
        logits = model(input_ids=tokens["input_ids"], **mask, **pixels).logits_per_image
        bias = float(getattr(model, "logit_bias", torch.zeros(())))
    cosines = aligned.images(FRAMES) @ aligned.texts(PROMPTS).T
    assert torch.allclose(aligned.scale * cosines + bias, logits, atol=1e-4)
    assert aligned.name == family


@pytest.mark.parametrize("named", [False, True])
def test_zen_speaks_through_the_adaptor_of_its_teacher(named: bool, models: Path, tmp_path: Path) -> None:
    """The text model is found by the repository in the adaptor, or named."""
    repo = "siglip" if named else str(models / "siglip")
    adaptor = zen_with_adaptor(models, tmp_path / "zen", repo)
    text_model = str(models / "siglip") if named else None
    aligned = load_text_aligned(str(tmp_path / "zen"), CPU, image_size=32, text_model=text_model)
    processor = ZenImageProcessor()
    pixels = processor(
        [torch.from_numpy(frame).permute(2, 0, 1) for frame in FRAMES],
        do_resize=False,
        do_crop_field_of_view=False,
        return_tensors="pt",
    )["pixel_values"]
    with torch.no_grad():
        own = ZenModel.from_pretrained(tmp_path / "zen").eval()(pixels).pooler_output
        expected = nn.functional.normalize(adaptor(own), dim=1)
    assert torch.allclose(aligned.images(FRAMES), expected, atol=1e-4)
    teacher = load_text_aligned(str(models / "siglip"), CPU, image_size=32)
    assert torch.allclose(aligned.texts(PROMPTS), teacher.texts(PROMPTS), atol=1e-5)
    assert (aligned.scale, aligned.name) == (teacher.scale, "siglip")


def test_a_zen_that_was_saved_as_zero_shot_classifier(models: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"projection_dim": SHARED["clip"], "adaptor_hidden_size": 24, "text_model": str(models / "clip")}
    head = ZenForZeroShotImageClassification(ZenConfig(**TINY, **shape)).eval()
    head.save_pretrained(tmp_path)
    ZenImageProcessor().save_pretrained(tmp_path)
    aligned = load_text_aligned(str(tmp_path), CPU, image_size=32)
    assert aligned.images(FRAMES).shape == (3, SHARED["clip"])
    teacher = load_text_aligned(str(models / "clip"), CPU, image_size=32)
    assert torch.allclose(aligned.texts(PROMPTS), teacher.texts(PROMPTS), atol=1e-5)
    assert aligned.scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_models_that_read_no_texts(models: Path, tmp_path: Path) -> None:
    def refused(model: str | Path, message: str, **options: Any) -> None:
        with pytest.raises(NotTextAlignedError, match=message):
            load_text_aligned(str(model), CPU, image_size=32, **options)

    refused(models / "vit", r"^'vit' is a 'vit' without a text tower, so it cannot be prompted$")
    refused(models / "zen", r"^'zen' has no summary adaptor of a teacher that reads texts, so it cannot be prompted$")
    refused("surgvlp", r"^'surgvlp' is read as an image encoder alone, so it cannot be prompted$")
    for number, (repo, facts, reason) in enumerate(
        [
            (str(models / "vit"), {}, r"reader: no text tower\)"),
            (str(models / "clip"), {}, r"reader: the summary of a 'clip' is not in the space of its texts\)"),
            (str(models / "siglip"), {"summary_token": 1}, r"reader: its adaptor reads more than the mean"),
            ("./gone", {}, r"reader: its text tower './gone' is neither a folder nor within reach on the Hub"),
        ]
    ):
        zen_with_adaptor(models, tmp_path / str(number), repo, **facts)
        refused(tmp_path / str(number), reason)


def test_what_does_not_fit(models: Path, tmp_path: Path) -> None:
    zen_with_adaptor(models, tmp_path / "zen", str(models / "siglip"))
    with pytest.raises(UserError, match=r"^image size 20 is not a multiple of the patch"):
        load_text_aligned(str(tmp_path / "zen"), CPU, image_size=20)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"^model 'bare' cannot be loaded"):
        load_text_aligned(str(tmp_path / "bare"), CPU, image_size=32)
    shutil.copytree(models / "siglip", tmp_path / "silent")
    (tmp_path / "silent" / "tokenizer.json").unlink()
    aligned = load_text_aligned(str(tmp_path / "silent"), CPU, image_size=32)
    with pytest.raises(UserError, match=r"tokenizer"):
        aligned.texts(PROMPTS)
