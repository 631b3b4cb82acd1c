import pytest
import torch

from training.errors import UserError
from training.teachers.hadamard import hadamard

# Widths of encoders in use (and of the tests' tiny ones): every construction is among them.
WIDTHS = [1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 64, 112, 192, 256, 320, 352, 384, 512, 576, 640, 768, 1024, 1152, 1280]


@pytest.mark.parametrize("width", WIDTHS)
def test_orthonormal_with_entries_of_one_size(width: int) -> None:
    matrix = hadamard(width)
    assert matrix.dtype == torch.float64
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(width, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, width**-0.5), rtol=1e-12)


def test_the_second_order_by_hand() -> None:
    assert (hadamard(2) * 2**0.5).round().tolist() == [[1, 1], [1, -1]]


@pytest.mark.parametrize("width", [1408, 1536, 1664, 2048, 3072, 4096])
def test_wide_teachers_have_one(width: int) -> None:
    # One random probe instead of a full product: H Hᵀ x = x.
    matrix = hadamard(width)
    probe = torch.randn(width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(matrix @ (matrix.T @ probe), probe)


@pytest.mark.parametrize("width", [0, 3, 6, 10, 14, 18, 92])
def test_a_width_without_construction_names_the_way_out(width: int) -> None:
    with pytest.raises(UserError, match=f"no Hadamard matrix of width {width} .* use the normalizer 'standardize'"):
        hadamard(width)
