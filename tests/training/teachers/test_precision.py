import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import UserError
from training.teachers import load_teacher
from training.teachers.encoding import encode, encode_clips
from training.teachers.precision import compute_dtype, lower_weights

GetFolder = Callable[[str], Path]
CPU, GPU, OTHER = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("setting", "device", "native", "expected"),
    [
        ("auto", CPU, True, torch.float32),
        ("bfloat16", CPU, True, torch.float32),
        ("float32", GPU, True, torch.float32),
        ("auto", GPU, True, torch.bfloat16),
        ("auto", GPU, False, torch.float32),
        ("bfloat16", GPU, False, torch.bfloat16),
        ("auto", OTHER, True, torch.float32),
        ("bfloat16", OTHER, True, torch.bfloat16),
    ],
)
def test_what_each_device_computes_in(
    setting: str, device: torch.device, native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert compute_dtype(setting, device) == expected


@pytest.mark.parametrize("name", ["dinov2", "dinov3", "siglip", "siglip2", "convnext", "timm-vit", "vjepa2"])
def test_lowered_weights_give_what_autocast_gives_bit_for_bit(name: str, model_folder: GetFolder) -> None:
    teacher = load_teacher(str(model_folder(name)))
    (network,) = teacher._hidden
    patch = teacher.spec.patch_size
    pixels = torch.rand(2, 3, *(teacher.spec.fixed_size or (3 * patch, 4 * patch)))
    lowered = copy.deepcopy(network)
    lower_weights(lowered, torch.bfloat16)
    assert {part.dtype for part in lowered.parameters()} == {torch.bfloat16, torch.float32}

    def run(model: nn.Module) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return encode_clips(model, pixels, 1, 2) if name == "vjepa2" else encode(model, pixels)[0]

    assert torch.equal(run(network), run(lowered))


def test_a_lowered_teacher_does_not_come_back_to_the_cpu(model_folder: GetFolder) -> None:
    teacher = load_teacher(str(model_folder("dinov2")), dtype="bfloat16")
    whole, halved = (
        teacher.num_bytes,
        sum(
            part.nbytes
            for each in teacher._hidden[0].modules()
            if isinstance(each, nn.Linear)
            for part in each.parameters()
        ),
    )
    teacher.to("meta")
    assert teacher.num_bytes == whole - halved // 2
    with (
        pytest.raises(RuntimeError, match=r"'dinov2' has kept torch.bfloat16 weights only; load it anew"),
        teacher.lent_to(CPU),
    ):
        pass


def test_an_unknown_dtype_is_refused(model_folder: GetFolder) -> None:
    with pytest.raises(UserError, match="dtype must be auto, float32 or bfloat16, got 'fp16'"):
        load_teacher(str(model_folder("dinov2")), dtype="fp16")
