"""Agreement with a teacher through the trained head, and through a fresh ridge probe from the frozen trunk."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.diagnostics.agreement import Agreement, AgreementMeter
from training.diagnostics.features import dense_of
from training.diagnostics.ridge import RidgeProbe, fit_ridge
from training.objectives.branches import Branch
from training.objectives.grids import resample_tokens, valid_tokens
from training.teachers.teacher import TeacherOutput

FOLDS = 3  # over the videos that a probe is fitted on, to choose its penalty
# Up to where a probe says nothing but the mean: what does not carry over to other videos must not score below it.
PENALTIES = tuple(float(10.0**power) for power in range(4, -5, -1))
# A feature that hardly moved in the frames of the fit may move on other videos, and would be blown up there.
LEAST_DEVIATION = 0.1


@dataclass(frozen=True)
class Side:
    """Frames that a probe is fitted on, or measured on.

    Attributes:
        valid: bool (N, V, V), the pixels that count.
        videos: int (N,).
    """

    valid: Tensor
    videos: np.ndarray


class AgreementRecorder(AgreementMeter):
    """Keeps the agreement of every image instead of sums."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[tuple[str, str], list[Agreement]] = {}

    def add(self, teacher: str, tokens: str, agreement: Agreement) -> None:
        """See `AgreementMeter`."""
        self._parts.setdefault((teacher, tokens), []).append(agreement)

    def columns(self) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """By teacher and tokens the columns of `Agreement`, float64 (N,) over all images in order; NaN: not counted."""
        return {key: _columns(parts) for key, parts in self._parts.items()}


class ProbeHead(nn.Module):
    """A ridge probe in the place of a projector head."""

    def __init__(self, probe: RidgeProbe) -> None:
        super().__init__()
        mean, scale, weight, bias = (
            torch.from_numpy(np.asarray(part, np.float32))
            for part in (probe.standardize.mean, probe.standardize.scale, probe.weight, probe.bias)
        )
        self.mean, self.scale, self.weight, self.bias = (nn.Buffer(part) for part in (mean, scale, weight, bias))

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens float32 `(..., D)` to `(..., T)`."""
        return (tokens - self.mean) * self.scale @ self.weight + self.bias


def fit_probe(branch: Branch, kind: str, inputs: TeacherOutput, targets: TeacherOutput, side: Side) -> Branch:
    """The branch with a ridge probe as its head, fitted to the teacher's normalized tokens.

    Args:
        branch: of the teacher and kind of tokens, with a frozen normalizer; it is copied.
        kind: "summary" or "dense".
        inputs: features of the model that is probed; without a summary its mean dense token takes its place.
        targets: the teacher's.
        side: the frames of both.
    """
    branch = copy.deepcopy(branch).cpu()
    x, y, owners = _rows(branch, kind, inputs, targets, side)
    probe, _, _ = fit_ridge(x, y, video_folds(owners, FOLDS), PENALTIES, LEAST_DEVIATION)
    branch.head = ProbeHead(probe)  # type: ignore[assignment]
    return branch


@torch.no_grad()
def compare(
    branch: Branch, kind: str, inputs: TeacherOutput, targets: TeacherOutput, side: Side
) -> dict[str, np.ndarray]:
    """Agreement of every frame through the head of a branch on the CPU; columns as `AgreementRecorder.columns`."""
    tokens, target = _summary(inputs) if kind == "summary" else dense_of(inputs), _target(kind, targets)
    mask = None if bool(side.valid.all()) else valid_tokens(side.valid, grid_of(targets))
    return _columns([branch(tokens, target, mask).agreement])


def video_folds(videos: np.ndarray, most: int) -> list[np.ndarray]:
    """Rows of each fold, int; a video is in one fold, and folds are about as large. One fold for a single video."""
    sizes = np.bincount(videos)
    present = np.flatnonzero(sizes)
    fold_of, filled = np.zeros(len(sizes), np.int64), np.zeros(min(most, len(present)), np.int64)
    for video in present[np.argsort(-sizes[present], kind="stable")].tolist():
        fold_of[video] = int(filled.argmin())
        filled[fold_of[video]] += sizes[video]
    return [np.flatnonzero(fold_of[videos] == fold) for fold in range(len(filled))]


def grid_of(features: TeacherOutput) -> tuple[int, int]:
    """Rows and columns of the dense grid."""
    dense = dense_of(features)
    return dense.shape[2], dense.shape[3]


@torch.no_grad()
def _rows(
    branch: Branch, kind: str, inputs: TeacherOutput, targets: TeacherOutput, side: Side
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (M, D), normalized targets (M, T) and videos (M,) of every token that counts."""
    grid, target = grid_of(targets), _target(kind, targets)
    valid = valid_tokens(side.valid, grid)  # (N, H*W)
    if kind == "summary":
        counted = valid.any(dim=1)
        return (
            _summary(inputs)[counted].numpy(),
            branch.normalizer(target[counted]).numpy(),
            side.videos[counted.numpy()],
        )
    # (N, D, h, w) -> (N, h*w, D) -> (N, H*W, D)
    tokens = resample_tokens(dense_of(inputs).flatten(2).transpose(1, 2), grid_of(inputs), grid)
    owners = np.broadcast_to(side.videos[:, None], tuple(valid.shape))[valid.numpy()]
    normalized = branch.normalizer(target.flatten(2).transpose(1, 2)[valid])
    return tokens[valid].numpy(), normalized.numpy(), owners


def _summary(features: TeacherOutput) -> Tensor:
    return dense_of(features).mean(dim=(2, 3)) if features.summary is None else features.summary


def _target(kind: str, features: TeacherOutput) -> Tensor:
    target = features.summary if kind == "summary" else features.dense
    assert target is not None  # the plan of a teacher names only what it gives
    return target


def _columns(parts: list[Agreement]) -> dict[str, np.ndarray]:
    names = ("loss", "constant_loss", "cosine", "error", "constant_error")
    found = {name: torch.cat([getattr(part, name) for part in parts]).double().cpu().numpy() for name in names}
    counted = torch.cat(
        [torch.ones_like(part.loss, dtype=torch.bool) if part.counted is None else part.counted for part in parts]
    )
    return {name: np.where(counted.cpu().numpy(), values, np.nan) for name, values in found.items()}
