"""A dense loss between two views that were shifted apart: what a teacher ties to a position cannot be copied."""

import torch.nn.functional as F
from torch import Tensor

from training.losses.mse import mse
from training.losses.tokens import check_tokens

Shift = tuple[int, int]  # cells down and to the right


def shift_images(images: Tensor, shift: Shift, cells: int) -> Tensor:
    """Images `(B, C, V, V)` whose content lies `shift` cells, of `cells` along each side, further; edges are repeated.

    Raises:
        ValueError: the side is no multiple of the number of cells.
    """
    side = images.shape[-1]
    if side % cells:
        raise ValueError(f"{side} pixels are no multiple of {cells} cells")
    down, right = (step * side // cells for step in shift)
    padded = F.pad(images, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)), mode="replicate")
    top, left = max(-down, 0), max(-right, 0)
    return padded[..., top : top + side, left : left + side]


def overlap(
    prediction: Tensor,
    target: Tensor,
    valid_mask: Tensor | None = None,
    *,
    grid: tuple[int, int],
    student_shift: Shift,
    teacher_shift: Shift,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The cells that both shifted views show, side by side: arguments as for `shift_equivariant_mse`.

    Returns:
        `(B, h*w, D)`, `(B, h*w, E)` and bool `(B, h*w)` of the h x w common cells, row by row: token n of either shows
        the same piece of the unshifted view.

    Raises:
        ValueError: shifts that leave no common cell.
    """

    def common(tokens: Tensor, shift: Shift) -> Tensor:
        cells = tokens.unflatten(1, grid)  # (B, H*W, ...) -> (B, H, W, ...)
        for axis, (size, own, one, other) in enumerate(zip(grid, shift, student_shift, teacher_shift, strict=True), 1):
            start, end = max(0, -one, -other), min(size, size - one, size - other)
            if end <= start:
                raise ValueError(f"shifts {student_shift} and {teacher_shift} leave no common cell of {grid}")
            cells = cells.narrow(axis, start + own, end - start)
        return cells.flatten(1, 2)

    mask = None if valid_mask is None else common(valid_mask, (0, 0))
    return common(prediction, student_shift), common(target, teacher_shift), mask


def shift_equivariant_mse(
    prediction: Tensor,
    target: Tensor,
    valid_mask: Tensor | None = None,
    *,
    grid: tuple[int, int],
    student_shift: Shift,
    teacher_shift: Shift,
) -> Tensor:
    """Mean squared error per image over the cells that both shifted views show.

    L = mean over cells c that lie in both of mse(x[c + s], y[c + t]), with the shifts s of the student's input and t of
    the teacher's.

    Args:
        prediction: x, `(B, H*W, D)` row by row, of images shifted by `student_shift`.
        target: y, `(B, H*W, D)`, of images shifted by `teacher_shift`.
        valid_mask: bool `(B, H*W)` of the unshifted view.
        grid: H, W.
        student_shift: cells.
        teacher_shift: cells.

    Returns:
        float32 `(B,)`, as `mse`.

    Raises:
        ValueError: shapes that do not fit, or shifts that leave no common cell.

    Source: C-RADIOv4, arXiv 2601.17237 (shift-equivariant loss).

    Example:
        A 1 x 3 grid, s = (0, 1), t = (0, 0): cells 0 and 1 lie in both, x[1] is compared with y[0] and x[2] with y[1].
    """
    check_tokens(prediction, target, valid_mask)
    common = overlap(
        prediction, target, valid_mask, grid=grid, student_shift=student_shift, teacher_shift=teacher_shift
    )
    return mse(*common)
