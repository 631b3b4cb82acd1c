import pytest
import torch

from training.losses.mse import mse
from training.losses.shift_equivariant import shift_equivariant_mse, shift_images


def test_by_hand() -> None:
    prediction, target = torch.tensor([[[9.0], [1.0], [2.0]]]), torch.tensor([[[1.0], [4.0], [9.0]]])
    value = shift_equivariant_mse(prediction, target, grid=(1, 3), student_shift=(0, 1), teacher_shift=(0, 0))
    assert value.tolist() == [2.0]  # (1 - 1)² and (2 - 4)²
    mask = torch.tensor([[True, False, True]])
    value = shift_equivariant_mse(prediction, target, mask, grid=(1, 3), student_shift=(0, 1), teacher_shift=(0, 0))
    assert value.tolist() == [0.0]


def test_a_network_that_follows_the_shift_pays_nothing() -> None:
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))

    def cells(shift: tuple[int, int]) -> torch.Tensor:
        means = torch.nn.functional.avg_pool2d(shift_images(images, shift, 4), 3)
        return means.flatten(2).transpose(1, 2)

    for student, teacher in (((1, -2), (0, 1)), ((0, 0), (-1, -1)), ((2, 0), (2, 0))):
        value = shift_equivariant_mse(
            cells(student), cells(teacher), grid=(4, 4), student_shift=student, teacher_shift=teacher
        )
        torch.testing.assert_close(value, torch.zeros(2), atol=1e-9, rtol=0)


def test_no_shift_is_plain_mse() -> None:
    x, y = torch.randn(2, 2, 6, 3, generator=torch.Generator().manual_seed(0))
    value = shift_equivariant_mse(x, y, grid=(2, 3), student_shift=(0, 0), teacher_shift=(0, 0))
    torch.testing.assert_close(value, mse(x, y))


def test_too_far_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shifts \(0, 2\) and \(0, -1\) leave no common cell of \(1, 3\)"):
        shift_equivariant_mse(
            torch.ones(1, 3, 1), torch.ones(1, 3, 1), grid=(1, 3), student_shift=(0, 2), teacher_shift=(0, -1)
        )
    with pytest.raises(ValueError, match="10 pixels are no multiple of 4 cells"):
        shift_images(torch.ones(1, 3, 10, 10), (0, 1), 4)
