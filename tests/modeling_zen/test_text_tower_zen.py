"""The text side of CLIP, SigLIP and others: padded as trained, borrowed and not owned, refused where it will not do."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.testing_utils import CaptureLogger

from modeling_zen import (
    ZenConfig,
    text_tower_zen,
)
from modeling_zen.text_tower_zen import TextTower

from .text_models import (
    FULL,
    PROMPTS,
    make_answerer,
    make_teacher,
    make_tokenizer,
    make_zero_shot,
    save_teachers,
    tokens_of,
)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.mark.parametrize("family", ["clip", "siglip", "siglip-left"])
def test_a_prompt_is_the_same_in_every_batch(family: str, teachers: Path) -> None:
    """Alone, padded to a longer one, padded to full length, with or without a mask: one embedding."""
    model, tokenizer = make_zero_shot(family, teachers), make_tokenizer("left" if "left" in family else "right")
    alone = model.get_text_features(**tokens_of(tokenizer, PROMPTS[1:2])).pooler_output
    batch = tokens_of(tokenizer, PROMPTS, padding=True)
    full = tokens_of(tokenizer, PROMPTS, padding="max_length", max_length=FULL)
    assert batch["input_ids"].shape[1] < full["input_ids"].shape[1] == FULL
    torch.testing.assert_close(model.get_text_features(**batch).pooler_output[1:2], alone)
    torch.testing.assert_close(model.get_text_features(**full).pooler_output[1:2], alone)
    if family != "clip":
        torch.testing.assert_close(model.get_text_features(batch["input_ids"]).pooler_output[1:2], alone)
        other_pad = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)
        again = model.get_text_features(other_pad, batch["attention_mask"]).pooler_output[1:2]
        torch.testing.assert_close(again, alone)


@pytest.mark.parametrize("family", ["bert", "clip", "siglip", "siglip-left"])
def test_questions_are_encoded_by_any_text_side(family: str, teachers: Path, pixels: torch.Tensor) -> None:
    """The same answer whatever the padding, and that of features computed by the encoder itself."""
    model = make_answerer(teachers / family)
    tokenizer = make_tokenizer("left" if "left" in family else "right")
    questions = ["this is a liver", "grasper"]
    batch, full = (
        tokens_of(tokenizer, questions, padding=True),
        tokens_of(tokenizer, questions, padding="max_length", max_length=FULL),
    )
    logits = model(pixels, **batch).logits
    torch.testing.assert_close(model(pixels, **full).logits, logits)
    encoder = make_teacher(family.split("-")[0])
    encoder = getattr(encoder, "text_model", encoder)
    with torch.no_grad():
        given = {"input_ids": full["input_ids"]} if "siglip" in family else full
        states = encoder.eval()(**given).last_hidden_state
    wanted = model(pixels, question_states=states, attention_mask=full["attention_mask"]).logits
    torch.testing.assert_close(logits, wanted)
    if "siglip" in family:  # their tokenizers give no mask
        torch.testing.assert_close(model(pixels, batch["input_ids"]).logits, logits)


def test_the_text_side_is_no_part_of_the_model(teachers: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    model = make_zero_shot("clip", teachers)
    names = set(model.state_dict())
    tokens = tokens_of(make_tokenizer(), PROMPTS, padding=True)
    logits = model(pixels, **tokens).logits_per_image
    ((borrowed, _),) = model.text_tower._models.values()
    assert [name for name, _ in borrowed.named_children()] == ["text_model", "text_projection"]
    assert not borrowed.training
    assert not any(parameter.requires_grad for parameter in borrowed.parameters())
    assert set(model.state_dict()) == names
    assert all(not name.startswith("text") for name, _ in model.named_modules())
    model.save_pretrained(tmp_path / "saved")
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == names
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not copied.text_tower._models
        assert copied.text_tower.config is copied.config
        torch.testing.assert_close(copied(pixels, **tokens).logits_per_image, logits)
    model.train()
    assert not borrowed.training


def test_the_text_side_follows_the_dtype(teachers: Path, pixels: torch.Tensor) -> None:
    model = make_zero_shot("siglip", teachers)
    tokens = tokens_of(make_tokenizer(), PROMPTS, padding=True)
    exact = model.get_text_features(**tokens).pooler_output
    rough = model.bfloat16().get_text_features(**tokens).pooler_output
    assert rough.dtype == torch.bfloat16
    assert model(pixels, **tokens).logits_per_image.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)
    # Back again, with nothing rounded away.
    assert torch.equal(model.float().get_text_features(**tokens).pooler_output, exact)


def test_a_changed_config_loads_anew(teachers: Path) -> None:
    model = make_answerer(teachers / "bert")
    tokens = tokens_of(make_tokenizer(), PROMPTS, padding=True)
    device, dtype = torch.device("cpu"), torch.float32
    before, _ = model.text_tower.token_states(**tokens, device=device, dtype=dtype)
    model.config.text_model = str(teachers / "clip")
    after, _ = model.text_tower.token_states(**tokens, device=device, dtype=dtype)
    assert not torch.allclose(before, after)


def test_the_tokenizer_knows_how_much_the_text_side_reads(teachers: Path) -> None:
    tower = TextTower(ZenConfig(text_model=str(teachers / "siglip")))
    assert tower.tokenizer.model_max_length == FULL
    assert tower.tokenizer is tower.tokenizer
    assert tower.tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids.shape == (3, FULL)


def test_a_folder_without_a_tokenizer_is_said(teachers: Path, tmp_path: Path) -> None:
    model = make_zero_shot("clip", teachers, text_model=str(tmp_path / "nowhere"))
    with CaptureLogger(text_tower_zen.logger) as captured:
        model.save_pretrained(tmp_path / "saved")
    assert "is saved without a tokenizer, which pipelines look for there: the config of text_model" in captured.out
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert not (tmp_path / "saved" / "tokenizer.json").exists()
    make_answerer().save_pretrained(tmp_path / "no-text-model")
    assert not (tmp_path / "no-text-model" / "tokenizer.json").exists()


def test_text_models_that_will_not_do(
    teachers: Path, pixels: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tokens = tokens_of(make_tokenizer(), PROMPTS[:2], padding=True)
    with pytest.raises(ValueError, match="the config names no text_model: set it to the Hub id or folder"):
        make_zero_shot("clip", teachers, text_model=None)(pixels, **tokens)
    with pytest.raises(
        FileNotFoundError, match=r"weights of text_model 'no/where' \(Hub, revision abc\) cannot be loaded"
    ):
        make_zero_shot("clip", teachers, text_model="no/where", text_model_revision="abc")(pixels, **tokens)
    missing = str(tmp_path / "nowhere")
    for text_model, place, reason in (
        ("no/where", r"Hub, revision main", r"We couldn't connect to .* find them in the cached files"),
        (missing, "folder", "there is no such folder"),
    ):
        message = rf"^the weights of text_model '{text_model}' \({place}\) cannot be loaded: {reason}$"
        with pytest.raises(FileNotFoundError, match=message):
            make_zero_shot("clip", teachers, text_model=text_model)(pixels, **tokens)
    with pytest.raises(ValueError, match=r"weights of text_model '.*' \(folder\) cannot be loaded"):
        make_zero_shot("clip", teachers, text_model=str(tmp_path))(pixels, **tokens)
    with pytest.raises(ValueError, match="vit' is a ViTModel, which reads no text"):
        make_zero_shot("clip", teachers, text_model=str(teachers / "vit"))(pixels, **tokens)
    with pytest.raises(ValueError, match="bert' is a BertModel, which has no text tower aligned with images"):
        make_zero_shot("clip", teachers, text_model=str(teachers / "bert"))(pixels, **tokens)
    with pytest.raises(ValueError, match="bert' has no logit_scale: it is not of the CLIP family"):
        TextTower(ZenConfig(text_model=str(teachers / "bert"))).logit_scale_and_bias()
    with pytest.raises(ValueError, match="vit' is a ViTModel, which reads no text"):
        make_answerer(teachers / "vit")(pixels, **tokens)


def test_random_weights_are_refused(teachers: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    """No random numbers in the gaps, as transformers would have it; what reads images may be missing."""
    make_teacher("clip").save_pretrained(tmp_path / "gaps")
    weights = load_file(tmp_path / "gaps" / "model.safetensors")
    tokens = tokens_of(make_tokenizer(), PROMPTS, padding=True)
    model = make_zero_shot("clip", teachers, text_model=str(tmp_path / "gaps"))
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "gaps" / "model.safetensors", metadata={"format": "pt"})
    assert model(pixels, **tokens).logits_per_image.shape == (2, 3)
    del weights["text_projection.weight"]
    save_file(weights, tmp_path / "gaps" / "model.safetensors", metadata={"format": "pt"})
    message = r"gaps' lacks weights of its text side, or has them in another shape: text_projection\.weight$"
    with pytest.raises(ValueError, match=message):
        copy.deepcopy(model)(pixels, **tokens)
    weights["text_projection.weight"] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "gaps" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        copy.deepcopy(model)(pixels, **tokens)


def test_a_missing_tokenizer_is_named(teachers: Path, pixels: torch.Tensor, tmp_path: Path) -> None:
    """`AutoTokenizer` would make one that knows no word."""
    make_teacher("clip").save_pretrained(tmp_path / "clip")
    with pytest.raises(FileNotFoundError, match=r"clip' holds no tokenizer$"):
        TextTower(ZenConfig(text_model=str(tmp_path / "clip"))).tokenizer  # noqa: B018
    make_teacher("siglip").save_pretrained(tmp_path / "siglip")
    model = make_zero_shot("siglip", teachers, text_model=str(tmp_path / "siglip"))
    full = tokens_of(make_tokenizer(), PROMPTS, padding="max_length", max_length=FULL)
    assert model(pixels, **full).logits_per_image.shape == (2, 3)  # nothing to pad
    (tmp_path / "siglip" / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    with pytest.raises(FileNotFoundError, match=r"siglip' holds no tokenizer$"):
        model(pixels, **tokens_of(make_tokenizer(), PROMPTS, padding=True))
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "siglip")
    with pytest.raises(ValueError, match=rf"siglip' has no padding token, and texts must be padded to {FULL} tokens"):
        copy.deepcopy(model)(pixels, full["input_ids"][:, :5])
