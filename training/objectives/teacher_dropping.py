"""Teacher dropping: on each image the student listens to the teacher that it is furthest from, to others by chance."""

from collections.abc import Mapping

import torch
from torch import Tensor


def keep_hardest(losses: Mapping[str, Tensor], probability: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Which images each teacher is heard on, bool `(B,)` by teacher.

    Args:
        losses: weighted loss of every image by teacher, `(B,)`; 0 where an image does not count for a teacher.
        probability: of leaving out a teacher on an image on which another one's loss is higher.
        generator: on the CPU.

    Source: UNIC, arXiv 2408.05088, section 3.3 (teacher dropping). Losses are not scaled up for what is left out.

    Example:
        Losses 1 and 2 on an image, probability 1/2: the second is always heard, the first every other time, so that
        the second has 2/3 of all the weight.
    """
    values = torch.stack(list(losses.values()))  # (T, B)
    lucky = torch.rand(values.shape, generator=generator).to(values.device) >= probability
    hardest = values == values.amax(dim=0)
    return dict(zip(losses, hardest | lucky, strict=True))
