import numpy as np
import pytest
import torch

from training.diagnostics.agreement import Agreement
from training.diagnostics.probes import AgreementRecorder, Side, compare, fit_probe, video_folds
from training.objectives.branches import Branch, DenseBranch, SummaryBranch
from training.teachers.teacher import TeacherOutput

GENERATOR = torch.Generator().manual_seed(0)
MAP = torch.randn(6, 4, generator=GENERATOR)
VIDEOS = np.repeat(np.arange(8), 5)


def features(count: int = 40, grid: int = 2) -> TeacherOutput:
    return TeacherOutput(
        torch.randn(count, 6, generator=GENERATOR), torch.randn(count, 6, grid, grid, generator=GENERATOR)
    )


def taught(inputs: TeacherOutput, noise: float = 0.0) -> TeacherOutput:
    """A teacher that is a linear map of the student, plus 3, plus noise."""
    assert inputs.summary is not None
    assert inputs.dense is not None
    dense = torch.einsum("ndhw,dt->nthw", inputs.dense, MAP) + 3
    summary = inputs.summary @ MAP + 3
    return TeacherOutput(
        summary + noise * torch.randn(summary.shape, generator=GENERATOR),
        dense + noise * torch.randn(dense.shape, generator=GENERATOR),
    )


def side(count: int = 40, size: int = 4) -> Side:
    return Side(torch.ones(count, size, size, dtype=torch.bool), VIDEOS[:count])


def calibrated(kind: str, targets: TeacherOutput) -> Branch:
    branch = {"summary": SummaryBranch, "dense": DenseBranch}[kind](6, 4, 1, "center", "mse")
    branch.observe(getattr(targets, kind))
    branch.freeze()
    return branch


@pytest.mark.parametrize("kind", ["summary", "dense"])
def test_a_linear_teacher_is_read_out_completely_on_other_frames(kind: str) -> None:
    fit_inputs, inputs = features(), features()
    fit_targets, targets = taught(fit_inputs), taught(inputs)
    branch = calibrated(kind, fit_targets)
    before = {name: value.clone() for name, value in branch.state_dict().items()}
    probe = fit_probe(branch, kind, fit_inputs, fit_targets, side())
    found = compare(probe, kind, inputs, targets, side())
    assert 1 - found["error"].sum() / found["constant_error"].sum() > 0.999
    assert found["cosine"].mean() > 0.999
    after = branch.state_dict()  # the branch itself is left alone
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_noise_is_not_read_out_and_not_worse_than_the_mean() -> None:
    fit_inputs, inputs, fit_other, other = features(), features(), features(), features()
    fit_targets, targets = taught(fit_other), taught(other)  # of other frames: nothing to find
    branch = calibrated("summary", fit_targets)
    found = compare(fit_probe(branch, "summary", fit_inputs, fit_targets, side()), "summary", inputs, targets, side())
    assert 1 - found["error"].sum() / found["constant_error"].sum() == pytest.approx(0, abs=0.1)


def test_grids_are_brought_together_and_pixels_that_do_not_count_are_left_out() -> None:
    fit_inputs = features(grid=4)
    assert fit_inputs.dense is not None
    coarse = TeacherOutput(fit_inputs.summary, torch.nn.functional.avg_pool2d(fit_inputs.dense, 2))
    targets = taught(coarse)
    assert targets.dense is not None
    targets.dense[:, :, 0, 0] = 1000  # only these would spoil the fit
    valid = torch.ones(40, 4, 4, dtype=torch.bool)
    valid[:, :2, :2] = False
    masked = Side(valid, VIDEOS)
    branch = calibrated("dense", taught(coarse))
    found = compare(fit_probe(branch, "dense", fit_inputs, targets, masked), "dense", fit_inputs, targets, masked)
    # Antialiased resampling is no plain average of 2 x 2, so most but not all is found again.
    assert 1 - found["error"].sum() / found["constant_error"].sum() > 0.8


def test_a_model_without_summary_is_probed_by_its_mean_dense_token() -> None:
    inputs = features()
    assert inputs.dense is not None
    pooled = TeacherOutput(inputs.dense.mean(dim=(2, 3)), inputs.dense)
    targets = taught(pooled)
    branch = calibrated("summary", targets)
    bare = TeacherOutput(None, inputs.dense)
    found = compare(fit_probe(branch, "summary", bare, targets, side()), "summary", bare, targets, side())
    assert 1 - found["error"].sum() / found["constant_error"].sum() > 0.999


def test_folds_keep_videos_whole_and_even() -> None:
    videos = np.repeat([0, 1, 2, 3], [10, 4, 4, 3])
    folds = video_folds(videos, 3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(21))
    assert sorted(len(fold) for fold in folds) == [4, 7, 10]
    assert all(len({fold for fold, rows in enumerate(folds) if (videos[rows] == v).any()}) == 1 for v in range(4))
    assert len(video_folds(np.zeros(5, int), 3)) == 1


def test_recorder_keeps_images_apart_and_marks_those_that_do_not_count() -> None:
    recorder = AgreementRecorder()
    for start in (0.0, 2.0):
        values = torch.tensor([start, start + 1])
        counted = torch.tensor([True, start == 0])
        recorder.add("t", "dense", Agreement(values, values + 1, values + 2, values, values, counted))
    columns = recorder.columns()["t", "dense"]
    assert columns["loss"][:3].tolist() == [0, 1, 2]
    assert np.isnan(columns["loss"][3])
    assert columns["cosine"][:3].tolist() == [2, 3, 4]
