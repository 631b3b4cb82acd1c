"""Hadamard matrices for the widths of real teachers: Sylvester doubling of Paley's two constructions."""

import torch
from torch import Tensor

from training.errors import UserError


def hadamard(width: int) -> Tensor:
    """An orthonormal Hadamard matrix H: every entry ±1/√width and H·Hᵀ = 1.

    Constructions (R. Paley, "On orthogonal matrices", 1933): order q + 1 for a prime q ≡ 3 (mod 4), order 2·(q + 1)
    for a prime q ≡ 1 (mod 4), and Sylvester's doubling H₂ₙ = [[Hₙ, Hₙ], [Hₙ, -Hₙ]]. Together they reach every width of
    the usual encoders (192, 384, 768, 1024, 1152, 1280, 1536, 2048, ...).

    Args:
        width: order of the matrix.

    Returns:
        float64 `(width, width)`.

    Raises:
        UserError: no construction for this width.
    """
    signs = _signs(width)
    if signs is None:
        raise UserError(
            f"there is no Hadamard matrix of width {width} by Sylvester's and Paley's constructions, so phi_s cannot "
            "be used for this teacher; use the normalizer 'standardize'"
        )
    return signs / width**0.5


def _signs(width: int) -> Tensor | None:
    """Entries ±1, or `None`."""
    if width == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if width < 1 or width % 2:
        return None
    half = _signs(width // 2)
    if half is not None:
        return torch.cat([torch.cat([half, half], dim=1), torch.cat([half, -half], dim=1)])
    if _is_prime(width - 1) and (width - 1) % 4 == 3:
        return _paley_one(width - 1)
    if _is_prime(width // 2 - 1) and (width // 2 - 1) % 4 == 1:
        return _paley_two(width // 2 - 1)
    return None


def _paley_one(q: int) -> Tensor:
    """Order q + 1: H = 1 + S with the skew matrix S = [[0, 1ᵀ], [-1, Q]]."""
    matrix = torch.eye(q + 1, dtype=torch.float64)
    matrix[0, 1:] += 1
    matrix[1:, 0] -= 1
    matrix[1:, 1:] += _jacobsthal(q)
    return matrix


def _paley_two(q: int) -> Tensor:
    """Order 2·(q + 1): in [[0, 1ᵀ], [1, Q]] each 0 becomes [[1, -1], [-1, -1]] and each ±1 ±[[1, 1], [1, -1]]."""
    core = torch.zeros(q + 1, q + 1, dtype=torch.float64)
    core[0, 1:] = core[1:, 0] = 1
    core[1:, 1:] = _jacobsthal(q)
    for_zero = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    for_one = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    return torch.kron((core == 0).double(), for_zero) + torch.kron(core, for_one)


def _jacobsthal(q: int) -> Tensor:
    """Q[i, j] = χ(i - j): 1 for a square modulo the prime q, -1 for a non-square, 0 on the diagonal; `(q, q)`."""
    character = torch.full((q,), -1.0, dtype=torch.float64)
    character[torch.arange(1, q) ** 2 % q] = 1
    character[0] = 0
    index = torch.arange(q)
    return character[(index[:, None] - index[None, :]) % q]


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
