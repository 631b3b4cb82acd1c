import numpy as np
import pytest
import torch
from torch import Tensor

from training.diagnostics.features import extract, features_of, frame_vectors
from training.diagnostics.warps import WARPS
from training.errors import UserError
from training.teachers.spec import Size
from training.teachers.teacher import TeacherOutput

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class MeanColor:
    """Dense tokens are the mean colors of four quarters; remembers what it was shown."""

    name, role, size = "mean color", "teacher", (32, 32)

    def __init__(self) -> None:
        self.shown: list[tuple[int, Size]] = []

    def sizes(self, scales: tuple[float, ...]) -> dict[float, Size]:
        return {scale: (int(32 * scale), int(32 * scale)) for scale in scales}

    def __call__(self, images: Tensor, size: Size) -> TeacherOutput:
        self.shown.append((len(images), size))
        return TeacherOutput(None, torch.nn.functional.adaptive_avg_pool2d(images, 2))


def test_frames_are_shown_in_portions_as_they_are_warped_and_at_other_sizes() -> None:
    subject = MeanColor()
    found = extract(subject, IMAGES, np.array([1, 4]), (0.5, 2.0), 2, CPU)
    assert subject.shown[:3] == [(2, (32, 32)), (2, (32, 32)), (1, (32, 32))]
    assert len(subject.shown) == 3 + len(WARPS) + 2
    assert found.whole.dense is not None
    quarter = IMAGES[3, :, :16, 16:].float().mean(dim=(1, 2)) / 255
    assert torch.allclose(found.whole.dense[3, :, 0, 1], quarter)
    assert frame_vectors(found.whole)[3] == pytest.approx(IMAGES[3].float().mean(dim=(1, 2)).numpy() / 255, abs=1e-6)
    assert set(found.warped) == {warp.name for warp in WARPS}
    color = next(warp for warp in WARPS if warp.name == "color")
    expected = torch.nn.functional.adaptive_avg_pool2d(color.apply(IMAGES[[1, 4]].float() / 255), 2)
    assert torch.equal(found.warped["color"].dense, expected)
    assert sorted(found.resized) == [0.5, 2.0]


def test_what_cannot_be_measured_is_named() -> None:
    class Broken(MeanColor):
        dense: Tensor | None = None

        def __call__(self, images: Tensor, size: Size) -> TeacherOutput:
            return TeacherOutput(None, self.dense)

    subject = Broken()
    with pytest.raises(UserError, match="teacher 'mean color' gives no dense tokens"):
        features_of(subject, IMAGES, (32, 32), 8, CPU)
    subject.dense = torch.full((5, 1, 1, 1), float("nan"))
    with pytest.raises(UserError, match="features of teacher 'mean color' hold NaN or infinity"):
        features_of(subject, IMAGES, (32, 32), 8, CPU)
