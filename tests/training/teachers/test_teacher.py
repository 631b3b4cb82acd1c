import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, SiglipModel

from training.errors import UserError
from training.teachers import Teacher, load_teacher
from training.teachers.checkpoint import find_checkpoint, open_config, open_model

# name -> kind, summary, patch, prefix tokens, fixed size, width
EXPECTED: dict[str, tuple[str, str, int, int, tuple[int, int] | None, int]] = {
    "dinov2": ("tokens", "pooler", 14, 1, None, 32),
    "dinov3": ("tokens", "pooler", 16, 5, None, 32),
    "siglip": ("tokens", "pooler", 16, 0, (32, 32), 32),
    "siglip2": ("tokens", "pooler", 16, 0, None, 32),
    "vit": ("tokens", "first_token", 16, 1, (32, 32), 32),
    "convnext": ("map", "pooler", 32, 0, None, 16),
    "timm-cnn": ("map", "pooler", 32, 0, None, 256),
    "timm-vit": ("tokens", "pooler", 16, 1, None, 64),
    "timm-vit-fixed": ("tokens", "pooler", 16, 1, (160, 160), 64),
    "vjepa2": ("video", "mean", 8, 0, (32, 32), 32),
}
GetFolder = Callable[[str], Path]


@pytest.fixture(scope="module")
def teachers(model_folder: GetFolder) -> Callable[[str], Teacher]:
    """Loaded once per module; tests must leave them as they are."""
    loaded: dict[str, Teacher] = {}

    def get(name: str) -> Teacher:
        if name not in loaded:
            loaded[name] = load_teacher(str(model_folder(name)))
        return loaded[name]

    return get


def legal_size(teacher: Teacher) -> tuple[int, int]:
    """A legal input, oblong where possible."""
    patch = teacher.spec.patch_size
    return teacher.spec.fixed_size or (3 * patch, 5 * patch)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_spec_of_an_unregistered_model_is_inferred(name: str, teachers: Callable[[str], Teacher]) -> None:
    spec = teachers(name).spec
    kind, summary, patch, prefix, fixed, _ = EXPECTED[name]
    assert (spec.kind, spec.summary, spec.patch_size, spec.num_prefix_tokens) == (kind, summary, patch, prefix)
    assert spec.fixed_size == fixed
    assert spec.licence == "not stated: see its model card"


@pytest.mark.parametrize("name", EXPECTED)
def test_shapes_and_types(name: str, teachers: Callable[[str], Teacher]) -> None:
    teacher, width = teachers(name), EXPECTED[name][-1]
    height, columns = size = legal_size(teacher)
    output = teacher(torch.rand(2, 3, height, columns))
    assert output.summary is not None
    assert output.dense is not None
    assert output.summary.shape == (2, width) == (2, teacher.summary_width)
    assert output.dense.shape == (2, teacher.dense_width, *teacher.grid_of(size))
    assert output.summary.dtype == output.dense.dtype == torch.float32
    assert teacher.input_size_for_grid(*teacher.grid_of(size)) == size


def raw_model(folder: Path) -> Any:
    checkpoint = find_checkpoint(str(folder), revision=None, trust_remote_code=False)
    config, checkpoint = open_config(checkpoint)
    return open_model(checkpoint, config).eval()


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in ("siglip2", "vjepa2")])
def test_features_are_those_of_the_plain_model(
    name: str, teachers: Callable[[str], Teacher], model_folder: GetFolder
) -> None:
    """Normalise by hand, run AutoModel, take the tokens apart by hand."""
    teacher = teachers(name)
    size = legal_size(teacher)
    images = torch.rand(2, 3, *size)
    mean = torch.tensor(teacher.preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(teacher.preprocessing.std).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = raw_model(model_folder(name))(pixel_values=(images - mean) / std)
    output = teacher(images)
    rows, columns = teacher.grid_of(size)
    hidden: Tensor = expected.last_hidden_state
    if hidden.ndim == 3:
        prefix = EXPECTED[name][3]
        # patch (r, c) is token prefix + r * columns + c
        corner = hidden[:, prefix + (rows - 1) * columns]
        torch.testing.assert_close(output.dense[:, :, rows - 1, 0], corner, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.dense[:, :, 0, columns - 1], hidden[:, prefix + columns - 1])
    else:
        scale = float(hidden.abs().max())
        torch.testing.assert_close(output.dense, hidden, rtol=0, atol=1e-4 * scale)
    summary = hidden[:, 0] if EXPECTED[name][1] == "first_token" else expected.pooler_output.flatten(1)
    torch.testing.assert_close(output.summary, summary, rtol=1e-4, atol=1e-4 * float(summary.abs().max()))


def test_a_two_tower_model_gives_its_vision_tower(teachers: Callable[[str], Teacher], model_folder: GetFolder) -> None:
    both = SiglipModel.from_pretrained(model_folder("siglip")).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = both.vision_model(pixel_values=images * 2 - 1)
    output = teachers("siglip")(images)
    torch.testing.assert_close(output.summary, expected.pooler_output)
    assert teachers("siglip").num_parameters == sum(p.numel() for p in both.vision_model.parameters())


def test_naflex_patches_are_cut_as_its_processor_cuts_them(
    teachers: Callable[[str], Teacher], model_folder: GetFolder
) -> None:
    from transformers import AutoImageProcessor

    image = torch.randint(0, 256, (3, 48, 80), dtype=torch.uint8)
    processor = AutoImageProcessor.from_pretrained(model_folder("siglip2"), max_num_patches=15)
    inputs = processor(image, return_tensors="pt")
    assert inputs["spatial_shapes"].tolist() == [[3, 5]]  # 48x80 fits 15 patches exactly: nothing was resized
    with torch.no_grad():
        expected = raw_model(model_folder("siglip2"))(**inputs)
    output = teachers("siglip2")(image[None] / 255)
    torch.testing.assert_close(output.summary, expected.pooler_output, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.dense.flatten(2).mT, expected.last_hidden_state, rtol=1e-4, atol=1e-5)


def test_images_are_resized_when_a_size_is_given(teachers: Callable[[str], Teacher]) -> None:
    teacher = teachers("dinov2")
    images = torch.rand(1, 3, 100, 130)
    output = teacher(images, size=(56, 70))
    by_hand = teacher(teacher.preprocessing.resize(images, (56, 70)))
    assert torch.equal(output.summary, by_hand.summary)
    assert output.dense.shape[2:] == (4, 5)


def test_an_illegal_size_names_the_nearest(teachers: Callable[[str], Teacher]) -> None:
    teacher = teachers("dinov2")
    with pytest.raises(UserError, match=r"height 50 .*two nearest legal sizes are 42 and 56"):
        teacher(torch.rand(1, 3, 50, 56))
    with pytest.raises(UserError, match=r"width 57 .*56 and 70"):
        teacher(torch.rand(1, 3, 56, 56), size=(56, 57))
    with pytest.raises(UserError, match=r"height 15 .*28 and 42"):
        teacher.check_size(15)
    with pytest.raises(UserError, match="takes only inputs of 32x32"):
        teachers("siglip").check_size((32, 48))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 56, 56, dtype=torch.uint8), "takes float images .*got torch.uint8"),
        (torch.zeros(3, 56, 56), r"got torch.float32 \(3, 56, 56\)"),
        (torch.zeros(1, 1, 56, 56), r"\(1, 1, 56, 56\)"),
        (torch.full((1, 3, 56, 56), 200.0), r"takes images in \[0, 1\], got values from 200 to 200"),
        (torch.full((1, 3, 56, 56), -1.0), r"takes images in \[0, 1\], got values from -1 to -1"),
    ],
)
def test_wrong_images_are_refused(images: Tensor, message: str, model_folder: GetFolder) -> None:
    with pytest.raises(ValueError, match=message):
        load_teacher(str(model_folder("dinov2")))(images)


@pytest.mark.parametrize("name", ["dinov2", "dinov3", "timm-cnn"])
def test_train_mode_changes_nothing(name: str, model_folder: GetFolder) -> None:
    """DINOv3 jitters its rotary positions and batch norms follow the batch in train mode: both would be noise."""
    teacher = load_teacher(str(model_folder(name)))
    images = torch.rand(2, 3, *legal_size(teacher))
    before = teacher(images)
    parent = nn.ModuleDict({"teacher": teacher, "head": nn.Dropout()})
    parent.train()
    assert parent["head"].training
    assert not teacher.training
    assert torch.equal(teacher(images).summary, before.summary)
    assert torch.equal(teacher(images).dense, before.dense)


def test_a_teacher_can_be_neither_trained_nor_saved(model_folder: GetFolder) -> None:
    teacher = load_teacher(str(model_folder("dinov2")))
    parent = nn.Sequential(nn.Linear(2, 2), teacher)
    assert len(list(parent.parameters())) == 2
    assert set(parent.state_dict()) == {"0.weight", "0.bias"}
    parent.load_state_dict(parent.state_dict(), strict=True)
    images = torch.rand(1, 3, 56, 56, requires_grad=True)
    output = teacher(images)
    assert not output.summary.requires_grad
    assert not output.dense.requires_grad
    # but a loss against it can be differentiated
    torch.nn.functional.mse_loss(torch.zeros_like(output.summary, requires_grad=True), output.summary).backward()


def test_to_moves_the_hidden_network_but_keeps_float32(model_folder: GetFolder) -> None:
    teacher = load_teacher(str(model_folder("dinov2")))
    images = torch.rand(1, 3, 56, 56)
    before = teacher(images).summary
    parent = nn.ModuleList([nn.Linear(2, 2), teacher])
    parent.to(torch.bfloat16)
    assert torch.equal(teacher(images).summary, before)
    parent.to("meta")
    assert teacher.device.type == "meta"


def test_an_outer_autocast_does_not_reach_the_teacher(teachers: Callable[[str], Teacher]) -> None:
    teacher = teachers("dinov2")
    images = torch.rand(1, 3, 56, 56)
    expected = teacher(images).summary
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(images).summary, expected)


def test_bfloat16_is_for_accelerators_only(model_folder: GetFolder, teachers: Callable[[str], Teacher]) -> None:
    images = torch.rand(1, 3, 56, 56)
    lower = load_teacher(str(model_folder("dinov2")), dtype="bfloat16")
    assert torch.equal(lower(images).summary, teachers("dinov2")(images).summary)


def test_inputs_are_left_alone_and_a_second_call_gives_the_same(teachers: Callable[[str], Teacher]) -> None:
    images = torch.rand(2, 3, 64, 96)
    kept = images.clone()
    first, second = (teachers("timm-cnn")(images) for _ in range(2))
    assert torch.equal(images, kept)
    assert torch.equal(first.dense, second.dense)


def test_chunking_a_batch_changes_nothing(teachers: Callable[[str], Teacher]) -> None:
    images = torch.rand(3, 3, 64, 96)
    for name in ("timm-cnn", "dinov3"):
        whole = teachers(name)(images).dense
        parts = torch.cat([teachers(name)(image[None]).dense for image in images])
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


def test_features_of_an_inference_mode_caller(teachers: Callable[[str], Teacher]) -> None:
    with torch.inference_mode():
        assert teachers("dinov2")(torch.rand(1, 3, 56, 56)).summary.shape == (1, 32)


def rebuild(teacher: Teacher, model: nn.Module, **differences: Any) -> Teacher:
    """The same checkpoint under another spec."""
    return Teacher(replace(teacher.spec, **differences), model, teacher.preprocessing, teacher._checkpoint)


@pytest.mark.parametrize(
    ("name", "differences", "message"),
    [
        ("dinov2", {"num_prefix_tokens": 5}, "says 5 prefix tokens and 2x3 patches .* the model gives"),
        ("dinov2", {"patch_size": 7, "size_multiple": 14}, "prefix tokens and 4x6 patches .*patch_size=7"),
        ("dinov2", {"kind": "map", "num_prefix_tokens": 0}, "says a map of 2x3 cells .* but the model gives"),
        ("timm-cnn", {"kind": "tokens"}, "prefix tokens and 2x3 patches"),
        ("timm-cnn", {"patch_size": 16, "size_multiple": 32}, "a map of 4x6 cells .*patch_size=16.* gives"),
        ("timm-cnn", {"dense_layer": 1}, "a map of 2x3 cells .*patch_size=32.* gives"),
        ("timm-cnn", {"dense_layer": 9}, "dense_layer=9, but the model has 5 hidden states"),
        ("vit", {"summary": "pooler"}, "summary='pooler' but the model gives no pooler_output"),
        ("siglip", {"fixed_size": None}, "allows 32x48 inputs but the model refuses them"),
        ("timm-vit-fixed", {"fixed_size": (320, 320)}, "allows 320x320 inputs but the model refuses them"),
    ],
)
def test_a_spec_that_the_model_does_not_match_is_refused(
    name: str, differences: dict[str, Any], message: str, teachers: Callable[[str], Teacher], model_folder: GetFolder
) -> None:
    with pytest.raises(UserError, match=message):
        rebuild(teachers(name), raw_model(model_folder(name)), **differences)


def test_dense_tokens_from_an_earlier_layer_leave_the_summary_alone(
    teachers: Callable[[str], Teacher], model_folder: GetFolder
) -> None:
    model = raw_model(model_folder("timm-cnn"))
    images = torch.rand(2, 3, 64, 96)
    fine = rebuild(teachers("timm-cnn"), copy.deepcopy(model), dense_layer=-2, patch_size=16)
    with torch.no_grad():
        states = model(pixel_values=fine.preprocessing.normalize(images), output_hidden_states=True).hidden_states
    output = fine(images)
    assert fine.grid_of((64, 96)) == tuple(output.dense.shape[2:]) == (4, 6)
    torch.testing.assert_close(output.dense, states[-2], rtol=0, atol=1e-4 * float(states[-2].abs().max()))
    torch.testing.assert_close(output.summary, teachers("timm-cnn")(images).summary, rtol=1e-4, atol=1e-5)


def test_other_summaries_and_roles(teachers: Callable[[str], Teacher], model_folder: GetFolder) -> None:
    model = raw_model(model_folder("dinov2"))
    images = torch.rand(1, 3, 56, 56)
    mean = rebuild(teachers("dinov2"), copy.deepcopy(model), summary="mean")(images)
    torch.testing.assert_close(mean.summary, mean.dense.mean(dim=(2, 3)))
    only_dense = rebuild(teachers("dinov2"), copy.deepcopy(model), summary="none", roles=("dense",))
    assert only_dense.summary_width is None
    assert only_dense(images).summary is None
    only_summary = rebuild(teachers("dinov2"), copy.deepcopy(model), dense=False, roles=("summary",))
    assert only_summary.dense_width is None
    assert only_summary(images).dense is None


class Restless(nn.Module):
    """An encoder that masks at random, as masked autoencoders do."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, pixel_values: Tensor) -> Any:
        output = self.model(pixel_values=pixel_values)
        output.last_hidden_state = output.last_hidden_state * torch.rand(1)
        return output


def test_a_model_that_answers_differently_each_time_is_refused(
    teachers: Callable[[str], Teacher], model_folder: GetFolder
) -> None:
    with pytest.raises(UserError, match="the same image gives other features the second time"):
        rebuild(teachers("dinov2"), Restless(raw_model(model_folder("dinov2"))))


def test_damaged_weights_are_refused(teachers: Callable[[str], Teacher], model_folder: GetFolder) -> None:
    model = raw_model(model_folder("dinov2"))
    model.layernorm.weight.data[0] = float("nan")
    with pytest.raises(UserError, match="NaN or infinite features"):
        rebuild(teachers("dinov2"), model)


def test_identity_tells_weights_apart(model_folder: GetFolder, teachers: Callable[[str], Teacher]) -> None:
    first = teachers("dinov2").identity()
    assert set(first) == {
        *("name", "repo", "revision", "weights_sha256", "preprocessing_sha256", "licence", "source"),
    }
    model = raw_model(model_folder("dinov2"))
    model.layernorm.weight.data[0] += 1e-3
    assert rebuild(teachers("dinov2"), model).identity()["weights_sha256"] != first["weights_sha256"]
    assert load_teacher(str(model_folder("dinov2"))).identity() == first


def test_a_hierarchical_transformer_is_refused(model_folder: GetFolder) -> None:
    """Its tokens are coarser than its patches, and nothing in its configuration says how much."""
    with pytest.raises(UserError, match="a 64x64 input with patch_size=4 gives 64 tokens, which leaves -192"):
        load_teacher(str(model_folder("swin")))


def test_a_processor_size_the_patch_does_not_divide_is_refused(edited_folder: Callable[..., Path]) -> None:
    crop = {"height": 60, "width": 60}
    folder = edited_folder("dinov2", "preprocessor_config.json", lambda values: values.update(crop_size=crop))
    with pytest.raises(UserError, match="prepares 60x60 images, no multiple of its patch of 14 pixels"):
        load_teacher(str(folder))


def test_automodel_itself_loads_every_folder(model_folder: GetFolder) -> None:
    """The fixtures are real: nothing in them is made for this package."""
    for name in ("dinov2", "convnext", "timm-cnn"):
        assert AutoModel.from_pretrained(model_folder(name)) is not None
