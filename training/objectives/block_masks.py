"""Which patches are hidden: rectangles for the masked tokens of iBOT, targets and context of I-JEPA."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import UserError


def block_mask(grid: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """Exactly `count` patches hidden in rectangles, bool `(rows * columns,)`.

    Rectangles of at least four patches with an aspect ratio between 0.3 and 1 / 0.3 are laid over each other until
    there are enough; what the last one has too much is uncovered at random.

    Source: BEiT, arXiv 2106.08254, algorithm 1; used by iBOT and DINOv2.
    """
    rows, columns = grid
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    while (missing := count - int(mask.sum())) > 0:
        area = _uniform(min(4, missing), missing, generator)
        ratio = math.exp(_uniform(math.log(0.3), -math.log(0.3), generator))
        height = min(rows, max(1, round(math.sqrt(area * ratio))))
        width = min(columns, max(1, round(math.sqrt(area / ratio))))
        top, left = (int(_uniform(0, room, generator)) for room in (rows - height + 1, columns - width + 1))
        block = torch.zeros_like(mask)
        block[top : top + height, left : left + width] = True
        new = (block & ~mask).flatten().nonzero()[:, 0]
        mask.view(-1)[new[torch.randperm(len(new), generator=generator)[:missing]]] = True
    return mask.flatten()


def masked_batch(
    batch: int, grid: tuple[int, int], share: float, ratios: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Hidden patches of a batch, bool `(B, N)`: in `share` of the images, from `ratios[0]` to `ratios[1]` of them.

    The ratios of the masked images are spread evenly, so that every batch hides the same number of patches.

    Source: DINOv2, arXiv 2304.07193, appendix B.
    """
    count, total = round(share * batch), grid[0] * grid[1]
    masks = torch.zeros(batch, total, dtype=torch.bool)
    chosen = torch.randperm(batch, generator=generator)[:count]
    for place, image in enumerate(chosen.tolist()):
        ratio = ratios[0] + (ratios[1] - ratios[0]) * (place + 0.5) / count
        masks[image] = block_mask(grid, round(ratio * total), generator)
    return masks


@dataclass(frozen=True)
class Blocks:
    """Context and targets of a batch: the patches that are seen, int64 `(B, C)`, and M blocks of K, `(B, M, K)`."""

    context: Tensor
    targets: Tensor


class TargetBlocks:
    """Draws M target blocks and a context block without them, as I-JEPA does.

    The sizes are drawn once for a batch, so that its tensors have one shape, the places for every image. The context is
    cut at random to the smallest of the batch. Sizes are rounded so that targets are never larger, and the context
    block never smaller, than drawn: then four targets of a fifth cannot cover the context.

    Args:
        count: M.
        scale: share of the image that a target block covers.
        ratio: height / width of a target block.
        context_scale: share of the image that the context block covers, a square.

    Source: I-JEPA, arXiv 2301.08243, section 3 and appendix A.
    """

    def __init__(
        self, count: int, scale: tuple[float, float], ratio: tuple[float, float], context_scale: tuple[float, float]
    ) -> None:
        self._count, self._scale, self._ratio, self._context_scale = count, scale, ratio, context_scale

    def check(self, grid: tuple[int, int], patch: int) -> None:
        """Refuse a grid on which the targets may cover the whole context."""
        largest = int(self._scale[1] * grid[0] * grid[1])
        context = _context_side(self._context_scale[0], grid)
        if context[0] * context[1] <= self._count * max(1, largest):
            raise UserError(
                f"ijepa: {self._count} targets of up to {max(1, largest)} patches can cover the context of "
                f"{context[0] * context[1]} on the {grid[0]} x {grid[1]} patches of images of {grid[1] * patch} "
                "pixels: choose larger images, fewer ijepa.targets or a smaller ijepa.target_scale"
            )

    def draw(self, batch: int, grid: tuple[int, int], generator: torch.Generator) -> Blocks:
        """Blocks for a batch."""
        rows, columns = grid
        area = _uniform(*self._scale, generator) * rows * columns
        ratio = _uniform(*self._ratio, generator)
        height = min(rows, max(1, int(math.sqrt(area * ratio))))
        width = min(columns, max(1, int(math.sqrt(area / ratio))))
        targets = _places((batch, self._count), (height, width), grid, generator)
        side = _context_side(_uniform(*self._context_scale, generator), grid)
        block = _places((batch,), side, grid, generator)
        seen = torch.zeros(batch, rows * columns, dtype=torch.bool).scatter(1, block, True)
        seen = seen.scatter(1, targets.flatten(1), False)
        # Random numbers of at least 0 where seen, -1 elsewhere: the largest are a random part of the context.
        order = torch.rand(batch, rows * columns, generator=generator).masked_fill(~seen, -1)
        context = order.topk(int(seen.sum(dim=1).min()), dim=1).indices
        return Blocks(context, targets)


def _context_side(share: float, grid: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(math.sqrt(share) * grid[0]), math.ceil(math.sqrt(share) * grid[1])


def _places(shape: tuple[int, ...], size: tuple[int, int], grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Patches of blocks of one size at random places: int64 `(*shape, height * width)`."""
    tops, lefts = (
        torch.randint(0, grid[axis] - size[axis] + 1, shape, generator=generator)[..., None, None] for axis in (0, 1)
    )
    # (..., height, 1) and (..., 1, width) -> (..., height, width) -> (..., height * width)
    patches = (tops + torch.arange(size[0])[:, None]) * grid[1] + lefts + torch.arange(size[1])
    return patches.flatten(-2)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
