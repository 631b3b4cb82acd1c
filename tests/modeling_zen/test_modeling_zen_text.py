"""Zero-shot classification and visual question answering: the numbers, folders, pipelines, training, refusals."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer, pipeline

from modeling_zen import (
    ZenConfig,
    ZenForVisualQuestionAnswering,
    ZenForZeroShotImageClassification,
    ZenImageProcessor,
    ZenModel,
)
from modeling_zen.modeling_zen_text import zero_shot_loss
from training.objectives.heads import ProjectorHead
from training.teachers.normalizer import FeatureNormalizer

from .conftest import TINY
from .text_models import (
    EOS,
    FULL,
    PROMPTS,
    WIDTH,
    make_answerer,
    make_teacher,
    make_tokenizer,
    make_zero_shot,
    save_teachers,
    tokens_of,
)

LABELS = ["liver", "gallbladder", "grasper"]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.fixture
def states() -> torch.Tensor:
    """Features of two questions of six words."""
    return torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(2))


# The numbers


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_logits_are_those_of_the_family(family: str, teachers: Path, pixels: torch.Tensor) -> None:
    """With the image embeddings given, the teacher itself, called as its card says, gives the same logits."""
    model, teacher = make_zero_shot(family, teachers), make_teacher(family)
    model.load_adaptor({name: weight for name, weight in model.state_dict().items() if name.startswith("adaptor.")})
    tokens = make_tokenizer()(PROMPTS, padding="max_length", max_length=FULL, return_tensors="pt")
    tokens = {"input_ids": tokens["input_ids"], **({} if family == "siglip" else dict(tokens))}
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        outputs = model(pixels, **make_tokenizer()(PROMPTS, padding=True, return_tensors="pt"))
        images = model.get_image_features(pixels).pooler_output
        teacher.vision_model.forward = lambda **_: transformers.modeling_outputs.BaseModelOutputWithPooling(
            pooler_output=images
        )
        if family == "clip":
            teacher.visual_projection = nn.Identity()
        wanted = teacher(pixel_values=pixels, **tokens)
    assert outputs.loss is None
    torch.testing.assert_close(outputs.logits_per_image, wanted.logits_per_image)
    torch.testing.assert_close(outputs.logits_per_text, wanted.logits_per_text)
    torch.testing.assert_close(outputs.image_embeds, wanted.image_embeds)
    torch.testing.assert_close(outputs.text_embeds, wanted.text_embeds)
    assert outputs.logits_per_image.shape == (2, 3)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_embeddings_computed_before_need_no_text_model(family: str, teachers: Path, pixels: torch.Tensor) -> None:
    model = make_zero_shot(family, teachers)
    tokens = tokens_of(make_tokenizer(), PROMPTS, padding=True)
    embeds = model.get_text_features(**tokens).pooler_output
    wanted = model(pixels, **tokens)
    model.config.text_model = None
    outputs = model(pixels, text_embeds=7 * embeds)  # any length
    torch.testing.assert_close(outputs.logits_per_image, wanted.logits_per_image)


def test_the_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    # -log(e^2 / (e^2 + 1)) = 0.126928 and -log(e / (e + 1)) = 0.313262
    assert zero_shot_loss(logits, torch.tensor([0, 1])).item() == pytest.approx((0.126928 + 0.313262) / 2, abs=1e-6)
    # SigLIP: log(1 + e^-2) + log 2 + log 2 + log(1 + e^-1), over two images
    expected = (0.126928 + 2 * 0.693147 + 0.313262) / 2
    assert zero_shot_loss(logits, torch.eye(2)).item() == pytest.approx(expected, abs=1e-6)
    assert zero_shot_loss(logits, torch.tensor([-100, 1])).item() == pytest.approx(0.313262, abs=1e-6)
    assert zero_shot_loss(logits, torch.tensor([-100, -100])).item() == 0


def test_frames_without_an_answer_count_nowhere(pixels: torch.Tensor, states: torch.Tensor) -> None:
    model = make_answerer()
    half = model(pixels, question_states=states, labels=torch.tensor([3, -100])).loss
    alone = model(pixels[:1], question_states=states[:1], labels=torch.tensor([3])).loss
    torch.testing.assert_close(half, alone)
    assert model(pixels, question_states=states, labels=torch.tensor([-100, -100])).loss.item() == 0


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_hidden_states_of_texts_on_request(family: str, teachers: Path) -> None:
    model, tokens = make_zero_shot(family, teachers), tokens_of(make_tokenizer(), PROMPTS, padding=True)
    plain = model.get_text_features(**tokens)
    outputs = model.get_text_features(**tokens, output_hidden_states=True)
    length = FULL if family == "siglip" else tokens["input_ids"].shape[1]
    assert plain.hidden_states is None
    assert [tuple(state.shape) for state in outputs.hidden_states] == [(3, length, WIDTH)] * 3
    assert torch.equal(outputs.pooler_output, plain.pooler_output)
    as_tuple = model.get_text_features(**tokens, output_hidden_states=True, return_dict=False)
    assert torch.equal(as_tuple[1], plain.pooler_output)
    assert len(as_tuple[2]) == 3


def test_questions_are_read_by_their_words_alone(pixels: torch.Tensor, states: torch.Tensor) -> None:
    model = make_answerer()
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    logits = model(pixels, question_states=states, attention_mask=mask).logits
    assert logits.shape == (2, 5)
    other = states.clone()
    other[0, 4:] = 9.0
    torch.testing.assert_close(model(pixels, question_states=other, attention_mask=mask).logits, logits)
    short = model(pixels[:1], question_states=states[:1, :4]).logits
    torch.testing.assert_close(short, logits[:1])


def test_answers_depend_on_question_frame_and_place(pixels: torch.Tensor, states: torch.Tensor) -> None:
    model = make_answerer()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
        logits = model(pixels, question_states=states).logits
        assert not torch.allclose(model(pixels, question_states=states.flip(0)).logits, logits, atol=1e-4)
        assert not torch.allclose(model(pixels.flip(0), question_states=states).logits, logits, atol=1e-4)
        last = model.zen(pixels).last_hidden_state
        tokens = model._frame_tokens(last, 48, 80)
        assert tokens.shape == (2, 2 + 15, 32)
        # The same patches elsewhere are other tokens; the summary stays.
        moved = model._frame_tokens(torch.cat([last[:, :5], last[:, 5:].flip(1)], dim=1), 48, 80)
        assert torch.equal(moved[:, :2], tokens[:, :2])
        assert not torch.allclose(moved[:, 2:], tokens[:, 2:].flip(1), atol=1e-3)


# Folders


@pytest.mark.parametrize("kind", ["zero-shot", "answers"])
def test_round_trip_is_bit_equal(
    kind: str, teachers: Path, pixels: torch.Tensor, states: torch.Tensor, tmp_path: Path
) -> None:
    model: Any = make_zero_shot("siglip", teachers) if kind == "zero-shot" else make_answerer(teachers / "bert")
    inputs = {"text_embeds": torch.randn(3, 20)} if kind == "zero-shot" else {"question_states": states}
    model.save_pretrained(tmp_path / "saved")
    auto = {
        "zero-shot": transformers.AutoModelForZeroShotImageClassification,
        "answers": transformers.AutoModelForVisualQuestionAnswering,
    }[kind]
    for loader in (type(model), auto):
        again = loader.from_pretrained(tmp_path / "saved")
        assert type(again) is type(model)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
        first, second = model(pixels, **inputs), again(pixels, **inputs)
        assert all(torch.equal(first[name], second[name]) for name in first)
    trunk = ZenModel.from_pretrained(tmp_path / "saved")
    assert torch.equal(trunk(pixels).last_hidden_state, model.zen(pixels).last_hidden_state)
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")("a photo")["input_ids"] == [5, 6, EOS]


@pytest.mark.parametrize("head_class", [ZenForZeroShotImageClassification, ZenForVisualQuestionAnswering])
def test_an_encoder_lacks_exactly_the_head(head_class: Any, folder: Path, model: ZenModel) -> None:
    head, report = head_class.from_pretrained(folder, output_loading_info=True)
    new = {name for name in head.state_dict() if not name.startswith("zen.")}
    assert report["missing_keys"] == new
    assert all(name.startswith(head_class._weights_that_may_be_new) for name in new)
    assert all(parameter.isfinite().all() for parameter in head.parameters())
    assert all(torch.equal(value, head.zen.state_dict()[name]) for name, value in model.state_dict().items())
    weights = load_file(folder / "model.safetensors")
    weights["foreign.weight"] = weights.pop("norm.bias")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 missing: zen\.norm\.bias; 1 unknown to the model: foreign\.weight$"):
        head_class.from_pretrained(folder)


def test_a_fresh_head_begins_as_clip_does() -> None:
    model = ZenForZeroShotImageClassification(ZenConfig(**TINY))
    assert model.logit_scale.item() == pytest.approx(2.6593, abs=1e-4)
    assert model.logit_bias.item() == 0.0
    assert model.adaptor.fc1.out_features == 1536
    assert model.adaptor.fc2.out_features == 768


# Pipelines


def frame() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_zero_shot_pipeline(family: str, teachers: Path, tmp_path: Path) -> None:
    """From the folder alone; the scores are the softmax of the logits of prompts padded as the tower wants them."""
    model, processor = make_zero_shot(family, teachers), ZenImageProcessor(size={"height": 64, "width": 64})
    model.load_adaptor({name: weight for name, weight in model.state_dict().items() if name.startswith("adaptor.")})
    for part in (model, processor):
        part.save_pretrained(tmp_path / "saved")
    classify = pipeline("zero-shot-image-classification", model=str(tmp_path / "saved"), device="cpu")
    found = classify(frame(), candidate_labels=LABELS)
    prompts = tokens_of(
        make_tokenizer(), [f"This is a photo of {label}." for label in LABELS], padding="max_length", max_length=FULL
    )
    with torch.no_grad():
        logits = model(processor(frame(), return_tensors="pt").pixel_values, **prompts).logits_per_image[0]
    wanted = dict(zip(LABELS, logits.softmax(0).tolist(), strict=True))
    assert {entry["label"]: entry["score"] for entry in found} == pytest.approx(wanted, abs=1e-5)
    assert found == sorted(found, key=lambda entry: -entry["score"])
    alone = classify(frame(), candidate_labels=LABELS[:2], hypothesis_template="{}")
    assert {entry["label"] for entry in alone} == set(LABELS[:2])
    with pytest.raises(ValueError, match=rf"a text has 15 tokens, but text_model .* reads at most {FULL}: shorten it"):
        classify(frame(), candidate_labels=["liver " * 8])


FRESH = """
import sys
sys.modules["modeling_zen"] = None  # importing the package, were it installed, is an ImportError
import torch
from PIL import Image
from transformers import pipeline

torch.set_num_threads(1)
folder, image, score = sys.argv[1:]
classify = pipeline("zero-shot-image-classification", model=folder, trust_remote_code=True, device="cpu")
assert type(classify.model).__module__.startswith("transformers_modules.")
found = classify(Image.open(image), candidate_labels=["liver", "grasper"])
assert abs(found[0]["score"] - float(score)) < 1e-5, found
print("equal")
"""


def test_zero_shot_pipeline_without_the_package(teachers: Path, tmp_path: Path) -> None:
    model = make_zero_shot("siglip", teachers)
    model.save_pretrained(tmp_path / "saved")
    ZenImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "saved")
    frame().save(tmp_path / "frame.png")
    classify = pipeline("zero-shot-image-classification", model=str(tmp_path / "saved"), device="cpu")
    score = classify(frame(), candidate_labels=["liver", "grasper"])[0]["score"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf_home")}
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "saved"), str(tmp_path / "frame.png"), str(score)],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("equal")


# Training


def test_a_zero_shot_step_trains_head_and_trunk(teachers: Path, pixels: torch.Tensor) -> None:
    model = make_zero_shot("siglip", teachers).train()
    tokens = tokens_of(make_tokenizer(), PROMPTS, padding=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    before = model(pixels, **tokens, labels=torch.eye(2, 3)).loss
    before.backward()
    assert all(parameter.grad is not None for parameter in model.adaptor.parameters())
    assert model.logit_scale.grad is not None
    assert model.zen.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.text_tower._load(torch.float32)[0].parameters())
    optimizer.step()
    assert model(pixels, **tokens, labels=torch.eye(2, 3)).loss < before
    assert model(pixels, **tokens, labels=torch.tensor([0, 2])).loss.ndim == 0


@pytest.mark.parametrize("labels", [torch.tensor([1, 4]), torch.rand(2, 5, generator=torch.Generator().manual_seed(4))])
def test_a_step_of_answers_trains_head_and_trunk(labels: torch.Tensor, teachers: Path, pixels: torch.Tensor) -> None:
    model = make_answerer(teachers / "bert", fusion_num_layers=1).train()
    model.activation_checkpointing_enable()
    tokens = tokens_of(make_tokenizer(), PROMPTS[:2], padding=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = model(pixels, **tokens, labels=labels).loss
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.zen.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    optimizer.step()
    assert model(pixels, **tokens, labels=labels).loss < before


def test_a_head_of_distillation_becomes_the_adaptor(teachers: Path, pixels: torch.Tensor) -> None:
    """Copied layer by layer, with the inverse of its normalizer in the last one, it gives the teacher's own space."""
    torch.manual_seed(1)
    model = make_zero_shot("siglip", teachers)
    head, normalizer = ProjectorHead(32, 20, 48), FeatureNormalizer(20, "phi_s")
    normalizer.update(torch.randn(200, 20) @ torch.randn(20, 20) + torch.randn(20))
    normalizer.freeze()
    summary = model.zen(pixels).pooler_output
    wanted = normalizer.inverse(head(summary))
    head.fc2 = normalizer.fold_into(head.fc2)
    model.load_adaptor({f"adaptor.{name}": weight for name, weight in head.state_dict().items()})
    torch.testing.assert_close(model.get_image_features(pixels).pooler_output, wanted, atol=1e-4, rtol=1e-4)
    assert model.logit_scale.item() == pytest.approx(1.7)
    assert model.logit_bias.item() == -3.25
    model.config.text_model = None
    own = {"logit_scale": torch.tensor(1.0), "logit_bias": torch.tensor(2.0)}
    model.load_adaptor({f"adaptor.{name}": weight for name, weight in head.state_dict().items()} | own)
    assert model.logit_bias.item() == 2.0


# What is refused


def test_a_wrong_adaptor_is_refused_whole(teachers: Path) -> None:
    model = make_zero_shot("clip", teachers)
    before = copy.deepcopy(model.state_dict())
    state = {name: torch.zeros_like(weight) for name, weight in before.items() if name.startswith("adaptor.")}
    state["head.weight"] = state.pop("adaptor.fc1.bias")
    state["adaptor.fc2.weight"] = torch.zeros(3, 48)
    with pytest.raises(
        ValueError,
        match=r"not hold exactly the adaptor's weights; missing: adaptor\.fc1\.bias; unknown: head\.weight; "
        r"of another shape: adaptor\.fc2\.weight is \(3, 48\), not \(24, 48\)$",
    ):
        model.load_adaptor(state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the texts must be given either as input_ids or as text_embeds"),
        ({"input_ids": torch.ones(1, 2).long(), "text_embeds": torch.ones(1, 24)}, "either as input_ids or as"),
        (
            {"text_embeds": torch.ones(3, 23)},
            r"text_embeds holds texts of shape \(3, 23\), but .* asks for \(texts, 24\)",
        ),
        ({"text_embeds": torch.ones(24)}, r"of shape \(24,\), but projection_dim"),
        (
            {"input_ids": torch.ones(1, FULL + 1).long()},
            rf"a text has 13 tokens, .* truncation=True, max_length={FULL}",
        ),
        (
            {"text_embeds": torch.ones(3, 24), "labels": torch.ones(2, 3).long()},
            r"labels must be \(2,\) integers or \(2, 3\) floating point numbers, not torch\.int64 \(2, 3\)",
        ),
        ({"text_embeds": torch.ones(3, 24), "labels": torch.tensor([0, 3])}, r"^labels holds class 3, .* from 0 to 2 "),
        (
            {"text_embeds": torch.ones(3, 24), "labels": torch.full((2, 3), 2.0)},
            r"^labels holds 2, which is not from 0",
        ),
        (
            {"input_ids": torch.ones(3).long()},
            r"^input_ids must be integers \(texts, tokens\), not torch\.int64 \(3,\)$",
        ),
        (
            {"input_ids": torch.ones(1, 3)},
            r"^input_ids must be integers \(texts, tokens\), not torch\.float32 \(1, 3\)$",
        ),
        (
            {"input_ids": torch.tensor([[1, 30000]])},
            r"^input_ids holds token 30000, but text_model '.*clip' knows tokens 0 to 11: make them by model\.te",
        ),
        (
            {"input_ids": torch.ones(2, 3).long(), "attention_mask": torch.ones(2, 4)},
            r"^attention_mask must be \(2, 3\) as input_ids, not \(2, 4\)$",
        ),
    ],
)
def test_wrong_texts_are_refused(inputs: Any, message: str, teachers: Path, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        make_zero_shot("clip", teachers)(pixels, **inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the questions must be given either as input_ids or as question_states"),
        ({"question_states": torch.ones(2, 6, 8)}, r"of shape \(2, 6, 8\), but 2 frames .* \(2, words, 16\)"),
        (
            {"question_states": torch.ones(1, 6, 16)},
            r"question_states holds questions of shape \(1, 6, 16\), but 2 fra",
        ),
        (
            {"question_states": torch.ones(2, 6, 16), "attention_mask": torch.ones(2, 5)},
            r"attention_mask must be \(2, 6\), not \(2, 5\)",
        ),
        (
            {"question_states": torch.ones(2, 6, 16), "attention_mask": torch.tensor([[1] * 6, [0] * 6])},
            "question 1 has no word: its attention_mask is all 0",
        ),
        (
            {"question_states": torch.ones(2, 6, 16), "labels": torch.tensor([0, 5])},
            r"^labels holds class 5, .* 0 to 4 ",
        ),
        (
            {"question_states": torch.ones(2, 6, 16), "labels": torch.ones(2, 4)},
            r"^labels must be floating point \(2, 5\), not torch\.float32 \(2, 4\)$",
        ),
        (
            {"question_states": torch.ones(2, 6, 16), "labels": torch.tensor([0])},
            r"^labels must be integers \(2.*\(1,\)$",
        ),
    ],
)
def test_wrong_questions_are_refused(inputs: Any, message: str, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        make_answerer()(pixels, **inputs)


def test_widths_that_do_not_fit_are_named(teachers: Path, pixels: torch.Tensor) -> None:
    tokens = tokens_of(make_tokenizer(), PROMPTS[:2], padding=True)
    with pytest.raises(ValueError, match=r"clip' gives texts of shape \(2, 24\), but projection_dim .* \(texts, 23\)"):
        make_zero_shot("clip", teachers, projection_dim=23)(pixels, **tokens)
    with pytest.raises(ValueError, match=r"bert' gives questions of shape \(2, \d, 16\), but .* \(2, words, 8\)"):
        make_answerer(teachers / "bert", text_hidden_size=8)(pixels, **tokens)
