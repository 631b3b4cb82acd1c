from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives.distillation import DistillationConfig, DistillationObjective, TeacherConfig
from training.teachers import load_teacher
from training.teachers.teacher import TeacherOutput

Configs = dict[str, TeacherConfig]


def build(folders: dict[str, Path], frames: int = 64, **changes: TeacherConfig) -> DistillationObjective:
    torch.manual_seed(0)
    student = ZenModel(ZenConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2))
    configs = {name: changes.get(name, TeacherConfig(repo=str(folder))) for name, folder in folders.items()}
    teachers = {name: load_teacher(str(folder)) for name, folder in folders.items()}
    settings = DistillationConfig(head_width=32, calibration_frames=frames)
    return DistillationObjective(student, ZenImageProcessor(), teachers, configs, settings, image_size=64)


def smooth_images(count: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear")


def test_grids_match_where_the_teacher_allows_it(tiny_teachers: dict[str, Path]) -> None:
    objective = build(tiny_teachers)
    # The student's 64 px are a 4 x 4 grid of 16 px patches.
    assert objective.plans["vit"].input_size == (32, 32)
    assert objective.plans["vit"].grid == (4, 4)
    assert objective.plans["cnn"].input_size == (128, 128)
    assert objective.plans["cnn"].grid == (4, 4)
    assert objective.view_size(64) == 128


def test_constant_predictor_scores_one_after_calibration(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build(tiny_teachers)
    images = smooth_images(64)
    objective.calibrate(as_batch(images).split(16))
    meter = AgreementMeter()
    objective(as_batch(images), objective.targets(images), meter)
    rows = meter.rows()
    assert {(row["teacher"], row["tokens"]) for row in rows} == {
        (teacher, tokens) for teacher in ("vit", "cnn") for tokens in ("summary", "dense")
    }
    for row in rows:
        assert row["constant_loss"] == pytest.approx(1, abs=0.01)


def test_gradient_reaches_every_parameter_and_no_teacher(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build(tiny_teachers).train()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    torch.stack(list(objective(as_batch(images[:4]), objective.targets(images[:4])).values())).sum().backward()
    without = [name for name, parameter in objective.named_parameters() if parameter.grad is None]
    assert without == []
    width = {"vit": 16, "cnn": 20}
    assert not any("teacher" in name for name in objective.state_dict())
    assert {name: objective.branch(name, "dense").normalizer.dim for name in width} == width


def test_weights_scale_and_zero_leaves_out(tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]) -> None:
    images = smooth_images(64)
    changed = build(
        tiny_teachers, vit=TeacherConfig(repo=str(tiny_teachers["vit"]), summary_weight=0, dense_weight=2.0)
    )
    assert "vit/summary" not in changed.describe_teachers()[0]["weights"]
    changed.calibrate([as_batch(images)])
    assert "summary" not in changed.branches["vit"]
    losses = changed(as_batch(images[:4]), changed.targets(images[:4]))
    assert set(losses) == {"vit/dense", "cnn/summary", "cnn/dense"}


def test_student_learns_to_beat_the_constant(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build({"vit": tiny_teachers["vit"]}).train()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    targets = objective.targets(images)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(objective(as_batch(images), targets).values())).sum().backward()
        optimizer.step()
    meter = AgreementMeter()
    held_out = smooth_images(32, seed=1)
    objective.eval()
    objective(as_batch(held_out), objective.targets(held_out), meter)
    explained = {row["tokens"]: row["explained_variance"] for row in meter.rows()}
    assert explained["dense"] > 0.3
    assert explained["summary"] > 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary_weight": 0, "dense_weight": 0}, r"teacher 'vit' teaches nothing: the weights of its roles"),
        ({"input_size": 33}, r"33"),
    ],
)
def test_impossible_teacher_settings(tiny_teachers: dict[str, Path], change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(tiny_teachers, vit=TeacherConfig(repo=str(tiny_teachers["vit"]), **change))


def test_too_small_a_calibration_is_refused_at_once(tiny_teachers: dict[str, Path]) -> None:
    # 2 frames of 16 cells against the 2 x 20 vectors that the wider teacher needs.
    message = (
        r"calibration_frames=2 gives the dense normalizer of teacher 'cnn' 32 vectors, but it needs 40: set it to 3"
    )
    with pytest.raises(UserError, match=message):
        build(tiny_teachers, frames=2)


def test_uncalibrated_objective_refuses_to_run(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective, images = build(tiny_teachers), smooth_images(2)
    with pytest.raises(RuntimeError, match="not frozen yet; call freeze after the calibration"):
        objective(as_batch(images), objective.targets(images))


def numbers(row: dict[str, float | str]) -> dict[str, float]:
    return {key: value for key, value in row.items() if not isinstance(value, str)}


def half_valid(count: int, size: int = 128) -> torch.Tensor:
    """The left half of every view counts."""
    valid = torch.zeros(count, size, size, dtype=torch.bool)
    valid[:, :, : size // 2] = True
    return valid


def test_a_mask_of_true_changes_nothing(tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]) -> None:
    objective = build(tiny_teachers).eval()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    targets = objective.targets(images[:4])
    plain, masked = AgreementMeter(), AgreementMeter()
    losses = objective(as_batch(images[:4]), targets, plain)
    same = objective(as_batch(images[:4], torch.ones(4, 128, 128, dtype=torch.bool)), targets, masked)
    for name, loss in losses.items():
        torch.testing.assert_close(same[name], loss)
    for a, b in zip(plain.rows(), masked.rows(), strict=True):
        assert numbers(a) == pytest.approx(numbers(b), rel=1e-4)


def test_masked_tokens_do_not_count(tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]) -> None:
    objective = build(tiny_teachers).eval()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    targets = objective.targets(images[:4])
    losses = objective(as_batch(images[:4], half_valid(4)), targets)
    broken = {name: TeacherOutput(each.summary, each.dense.clone()) for name, each in targets.items()}
    for each in broken.values():
        each.dense[:, :, :, 2:] = float("nan")  # the right half of the 4 x 4 grid
    again = objective(as_batch(images[:4], half_valid(4)), broken)
    for name, loss in losses.items():
        assert torch.equal(loss, again[name])
    assert not torch.equal(losses["vit/dense"], objective(as_batch(images[:4]), targets)["vit/dense"])


def test_an_image_without_a_valid_token_leaves_the_mean(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build(tiny_teachers).eval()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    valid = torch.ones(4, 128, 128, dtype=torch.bool)
    valid[3] = False
    meter, without = AgreementMeter(), AgreementMeter()
    losses = objective(as_batch(images[:4], valid), objective.targets(images[:4]), meter)
    expected = objective(as_batch(images[:3]), objective.targets(images[:3]), without)
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-4, atol=1e-5)
    for a, b in zip(meter.rows(), without.rows(), strict=True):
        assert numbers(a) == pytest.approx(numbers(b), rel=1e-3)
    nothing = objective(as_batch(images[:4], torch.zeros(4, 128, 128, dtype=torch.bool)), objective.targets(images[:4]))
    assert all(float(loss.detach()) == 0 for loss in nothing.values())


def test_calibration_looks_at_valid_tokens_only(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build({"vit": tiny_teachers["vit"]})
    images = smooth_images(64)
    valid = half_valid(64)
    valid[0] = False
    targets = objective.targets(images)
    objective.observe(as_batch(images, valid), targets)
    objective.freeze()
    seen = targets["vit"].dense[1:, :, :, :2].permute(0, 2, 3, 1).reshape(-1, 16).double()
    normalizer = objective.branch("vit", "dense").normalizer
    assert int(normalizer.count) == 63 * 8
    torch.testing.assert_close(normalizer.mean, seen.mean(dim=0))
    assert int(objective.branch("vit", "summary").normalizer.count) == 63
