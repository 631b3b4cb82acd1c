from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.losses.registry import FREE_LENGTH
from training.objectives.distillation import DistillationObjective
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.objectives.plan import plan_teacher
from training.teachers import load_teacher
from training.teachers.teacher import TeacherOutput

Configs = dict[str, TeacherConfig]


def build(
    folders: dict[str, Path],
    frames: int = 64,
    settings: dict[str, Any] | None = None,
    summary_tokens: int = 1,
    sources: Sequence[str] = (),
    **changes: TeacherConfig,
) -> DistillationObjective:
    torch.manual_seed(0)
    student = ZenModel(
        ZenConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_summary_tokens=summary_tokens)
    )
    configs = {name: changes.get(name, TeacherConfig(repo=str(folder))) for name, folder in folders.items()}
    teachers = {name: load_teacher(str(folder)) for name, folder in folders.items()}
    config = DistillationConfig(head_width=32, calibration_frames=frames, **(settings or {}))
    return DistillationObjective(
        student, ZenImageProcessor(), teachers, configs, config, image_size=64, sources=sources
    )


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


@pytest.mark.parametrize("loss", ["angle", "cosine", "cosine_smooth_l1", "mse"])
def test_summaries_in_the_teachers_own_space_are_nearer_than_its_mean(
    loss: str, tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    config = TeacherConfig(repo="", dense_weight=0, summary_loss=loss)
    objective = build({"vit": tiny_teachers["vit"]}, vit=config).train()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    targets = objective.targets(images)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(objective(as_batch(images), targets).values())).sum().backward()
        optimizer.step()
    branch, student = objective.branch("vit", "summary"), objective.eval().student
    wanted = targets["vit"].summary
    with torch.no_grad():
        tokens = student.summary_tokens(student(pixel_values=objective.pixels(images, 64)).last_hidden_state)[:, 0]
        predicted = branch.head(tokens)
        if loss in FREE_LENGTH:
            assert float(predicted.norm() / branch.normalizer(wanted).norm()) > 2  # of no meaning
            predicted = predicted * branch.length[0] / branch.length[1]
        own = branch.normalizer.inverse(predicted)
    error, spread = ((each - wanted).square().sum() for each in (own, wanted.mean(dim=0)))
    assert float(error) < 0.5 * float(spread)


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


@pytest.mark.parametrize("summary", ["angle", "cosine", "cosine_smooth_l1", "mse"])
@pytest.mark.parametrize("dense", ["mse", "cosine", "cosine_smooth_l1", "token_similarity_kl"])
def test_every_loss_stands_beside_that_of_the_constant(
    summary: str, dense: str, tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    config = TeacherConfig(repo="", summary_loss=summary, dense_loss=dense)
    objective = build({"vit": tiny_teachers["vit"]}, vit=config)
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    meter = AgreementMeter()
    losses = objective(as_batch(images), meter=meter)
    rows = {row["tokens"]: row for row in meter.rows()}
    for tokens in ("summary", "dense"):
        assert rows[tokens]["loss"] == pytest.approx(float(losses[f"vit/{tokens}"].detach()), rel=1e-5)
        constant_loss = float(rows[tokens]["constant_loss"])
        assert constant_loss > 0
        assert rows[tokens]["explained_variance"] == pytest.approx(1 - float(rows[tokens]["loss"]) / constant_loss)
        # No other constant is better: not the mean, which has no direction, and none near by.
        branch, target = objective.branch("vit", tokens), getattr(objective.targets(images)["vit"], tokens)
        targets = branch.normalizer(target if tokens == "summary" else target.flatten(2).transpose(1, 2))
        generator = torch.Generator().manual_seed(0)
        others = [branch.constant + 0.3 * torch.randn(16, generator=generator) for _ in range(5)]
        for other in (branch.normalizer.center(), *others):
            assert float(branch.measure()(other.expand_as(targets), targets).mean()) >= constant_loss * 0.99


def test_terms_between_tokens_and_frames(tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]) -> None:
    config = TeacherConfig(repo="", relational_weight=1.0, gram_weight=2.0, temporal_gram_weight=0.5)
    objective = build({"vit": tiny_teachers["vit"]}, vit=config).train()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    pairs = torch.arange(4) // 2
    meter = AgreementMeter()
    losses = objective(as_batch(images[:4], shared=pairs), meter=meter)
    assert set(losses) == {"vit/summary", "vit/dense", "vit/relational", "vit/gram", "vit/temporal_gram"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(bool(each.grad.isfinite().all()) for each in objective.parameters() if each.grad is not None)
    weight = {"summary": 1, "dense": 1, "relational": 1, "gram": 2, "temporal_gram": 0.5}
    for row in meter.rows():
        assert row["loss"] * weight[str(row["tokens"])] == pytest.approx(
            losses[f"vit/{row['tokens']}"].item(), rel=1e-5
        )
    meter = AgreementMeter()
    alone = objective(as_batch(images[:4]), meter=meter)  # no frame has a partner
    assert float(alone["vit/temporal_gram"].detach()) == 0
    assert "temporal_gram" not in {row["tokens"] for row in meter.rows()}


def test_a_head_that_says_the_same_of_everything_explains_nothing(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    config = TeacherConfig(repo="", relational_weight=1.0, gram_weight=1.0, temporal_gram_weight=1.0)
    objective = build({"vit": tiny_teachers["vit"]}, vit=config).eval()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    for tokens in ("summary", "dense"):
        branch = objective.branch("vit", tokens)
        torch.nn.init.zeros_(branch.head.fc2.weight)
        # Of no direction at all the mean is: there the cosines between tokens are what they are beside it.
        branch.head.fc2.bias.data.copy_(branch.constant if tokens == "summary" else torch.full((16,), 1e-4))
    meter = AgreementMeter()
    objective(as_batch(images, shared=torch.arange(64) // 2), meter=meter)
    for row in meter.rows():
        assert row["explained_variance"] == pytest.approx(0, abs=1e-3)
        assert row["loss"] == pytest.approx(row["constant_loss"], rel=1e-3)


def test_a_term_may_stand_without_the_loss_of_its_tokens(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    config = TeacherConfig(repo="", dense_weight=0, gram_weight=1.0)
    objective = build({"vit": tiny_teachers["vit"]}, vit=config)
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    losses = objective(as_batch(images[:4]))
    assert set(losses) == {"vit/summary", "vit/gram"}
    losses["vit/gram"].backward()
    assert objective.branch("vit", "dense").head.fc1.weight.grad is not None
    assert "summary x1, gram x1" in objective.banner()[0]


def test_a_term_of_tokens_that_the_teacher_does_not_give(tiny_teachers: dict[str, Path], tmp_path: Path) -> None:
    teacher = load_teacher(str(tiny_teachers["vit"]))
    only_summaries = replace(teacher.spec, roles=("summary",))
    object.__setattr__(teacher, "spec", only_summaries)
    with pytest.raises(UserError, match=r"teachers\.vit\.gram_weight: this teacher gives no dense tokens; set it to 0"):
        plan_teacher("vit", teacher, TeacherConfig(repo="", gram_weight=1.0), 64, 64, 16)


def test_a_block_stands_before_the_dense_head_only(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build(tiny_teachers, vit=TeacherConfig(repo="", head_block=True)).train()
    assert {name.split(".block.")[0] for name, _ in objective.named_parameters() if ".block." in name} == {
        "branches.vit.dense.head"
    }
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    torch.stack(list(objective(as_batch(images[:4])).values())).sum().backward()
    assert [name for name, parameter in objective.named_parameters() if parameter.grad is None] == []


def test_dropping_keeps_the_hardest_teacher_and_is_a_function_of_the_batch(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    images = smooth_images(64)
    whole, dropping = (build(tiny_teachers, settings={"drop_teacher": p}).train() for p in (0.0, 0.999999))
    for each in (whole, dropping):
        each.calibrate([as_batch(images)])
    batch = as_batch(images[:1])
    every, kept = whole(batch), dropping(batch)
    totals = {name: float((every[f"{name}/summary"] + every[f"{name}/dense"]).detach()) for name in ("vit", "cnn")}
    hardest = max(totals, key=lambda name: totals[name])
    for name in totals:
        for tokens in ("summary", "dense"):
            expected = every[f"{name}/{tokens}"] if name == hardest else torch.zeros(())
            torch.testing.assert_close(kept[f"{name}/{tokens}"], expected)
    half = build(tiny_teachers, settings={"drop_teacher": 0.5}).train()
    half.calibrate([as_batch(images)])
    first, again = (torch.stack(list(half(as_batch(images[:8])).values())) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(
        torch.stack(list(half.eval()(as_batch(images[:8])).values())),
        torch.stack(list(whole.eval()(as_batch(images[:8])).values())),
    )  # measured on every teacher
    held_out = as_batch(images[:8])._replace(numbers=-1 - torch.arange(8))
    assert torch.equal(
        torch.stack(list(half.train()(held_out).values())), torch.stack(list(whole.train()(held_out).values()))
    )


def test_a_teacher_is_not_heard_on_other_sources(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    config = TeacherConfig(repo="", sources=["b"])
    objective = build({"vit": tiny_teachers["vit"]}, sources=["a", "b"], vit=config)
    images = smooth_images(64)
    objective.calibrate([as_batch(images, sources=torch.ones(64, dtype=torch.int64))])
    mixed = objective(as_batch(images[:4], sources=torch.tensor([0, 1, 0, 1])))
    own = objective(as_batch(images[[1, 3]], sources=torch.tensor([1, 1])))
    for name, loss in own.items():
        torch.testing.assert_close(mixed[name], loss)
    meter = AgreementMeter()
    none = objective(as_batch(images[:4]), meter=meter)
    assert [float(loss.detach()) for loss in none.values()] == [0.0, 0.0]
    assert meter.rows() == []
    with pytest.raises(UserError, match=r"unknown source of teachers\.vit\.sources 'b'\. .*Known: a, bb"):
        build({"vit": tiny_teachers["vit"]}, sources=["a", "bb"], vit=config)


def test_shifts_move_student_and_teachers_apart_in_training_only(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    images = smooth_images(64)
    objective, still = (build({"vit": tiny_teachers["vit"]}, settings={"shift": s}).train() for s in (1.0, 0.0))
    batch = as_batch(images[:4])
    assert objective._shifts(batch) == {}  # calibration sees views as they are
    for each in (objective, still):
        each.calibrate([as_batch(images)])
    assert torch.equal(objective.branch("vit", "dense").normalizer.mean, still.branch("vit", "dense").normalizer.mean)
    shifts = objective._shifts(batch)
    assert set(shifts) == {"student", "vit"}
    assert shifts == objective._shifts(batch)
    drawn = {objective._shifts(batch._replace(numbers=batch.numbers + n))["vit"] for n in range(40)}
    assert len(drawn) > 4
    assert {abs(cells) for shift in drawn for cells in shift} == {0, 1}  # a quarter of the student's 4 x 4 cells
    assert not torch.equal(objective.prepare(batch)["vit"].dense, objective.targets(batch.images)["vit"].dense)
    objective(batch, objective.prepare(batch))["vit/dense"].backward()
    assert objective.eval()._shifts(batch) == {}
    assert objective.train()._shifts(batch._replace(numbers=-1 - batch.numbers)) == {}  # held-out frames
    with pytest.raises(UserError, match=r"needs equal grids, but teacher 'cnn' has 2x2 cells where .* has 4x4"):
        build({"cnn": tiny_teachers["cnn"]}, settings={"shift": 1.0}, cnn=TeacherConfig(repo="", input_size=64))


def test_summary_tokens_are_shared_or_one_each(tiny_teachers: dict[str, Path]) -> None:
    assert build(tiny_teachers, summary_tokens=2)._summary_tokens == {"vit": 0, "cnn": 1}
    assert build(tiny_teachers)._summary_tokens == {"vit": 0, "cnn": 0}
    only_cnn = build(tiny_teachers, vit=TeacherConfig(repo="", summary_weight=0))
    assert only_cnn._summary_tokens == {"cnn": 0}
    with pytest.raises(UserError, match=r"num_summary_tokens=3, but 2 teachers teach summaries: set 1, .* or 2"):
        build(tiny_teachers, summary_tokens=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_loss": "msee"}, r"unknown dense loss 'msee'\. Did you mean 'mse'"),
        ({"summary_loss": "token_similarity_kl"}, r"unknown summary loss .*Known: angle, cosine"),
        ({"gram_weight": -1.0}, r"teachers\.\*\.gram_weight must not be negative, got -1"),
    ],
)
def test_wrong_losses_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TeacherConfig(repo="x", **change)


def test_every_summary_head_reads_its_own_token(
    tiny_teachers: dict[str, Path], as_batch: Callable[..., ViewBatch]
) -> None:
    objective = build(tiny_teachers, summary_tokens=2).eval()
    images = smooth_images(64)
    objective.calibrate([as_batch(images)])
    read = {}
    for name in ("vit", "cnn"):
        head = objective.branch(name, "summary").head
        head.register_forward_pre_hook(lambda _, inputs, name=name: read.update({name: inputs[0]}))
    objective(as_batch(images[:2]))
    student = objective.student
    tokens = student.summary_tokens(student(pixel_values=objective.pixels(images[:2], 64)).last_hidden_state)
    torch.testing.assert_close(read["vit"], tokens[:, 0])
    torch.testing.assert_close(read["cnn"], tokens[:, 1])
    assert not torch.allclose(tokens[:, 0], tokens[:, 1])


@pytest.mark.parametrize("change", [{"drop_teacher": 1.0}, {"shift": -0.5}])
def test_wrong_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        DistillationConfig(**change)
