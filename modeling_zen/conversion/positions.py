"""Positions: learned ones are split from the tokens that carry some; rotary ones are solved for ZEN's two numbers."""

import math

import torch

from .mapping import Rule

# How far, relatively, a stored period may lie from the formula.
PERIOD_TOLERANCE = 1e-5


def position_grid(
    num_positions: int, num_prefixed: tuple[int, ...], image_size: tuple[int, int] | None, patch: int, name: str
) -> tuple[int, tuple[int, int]]:
    """Which of `num_prefixed` positions belong to tokens that are no patches, and rows and columns of the rest.

    Args:
        num_positions: How many positions the source holds.
        num_prefixed: How many of them may belong to other tokens than patches.
        image_size: Height and width in pixels of the image they belong to; `None` for a square.
        patch: Side of a patch in pixels.
        name: Of the source, for messages.

    Raises:
        ValueError: An image of that size has another number of positions; or as `square_grid`.
    """
    if image_size is None:
        prefixed, side = square_grid(num_positions, num_prefixed, name)
        return prefixed, (side, side)
    rows, columns = (pixels // patch for pixels in image_size)
    prefixed = num_positions - rows * columns
    if prefixed not in num_prefixed or (rows * patch, columns * patch) != image_size:
        raise ValueError(f"{name} holds {num_positions} positions, which an image of {image_size} pixels has not")
    return prefixed, (rows, columns)


def square_grid(num_positions: int, num_prefixed: tuple[int, ...], name: str) -> tuple[int, int]:
    """Which of `num_prefixed` positions belong to tokens that are no patches, and the side of the square of the rest.

    Raises:
        ValueError: None of the numbers, or more than one, leaves a square.
    """
    fits = [
        (prefixed, math.isqrt(num_positions - prefixed))
        for prefixed in sorted(set(num_prefixed))
        if num_positions > prefixed and math.isqrt(num_positions - prefixed) ** 2 == num_positions - prefixed
    ]
    if len(fits) != 1:
        raise ValueError(
            f"{name} holds {num_positions} positions, which are {'in several ways' if fits else 'not'} a square of "
            f"patches and {' or '.join(str(count) for count in sorted(set(num_prefixed)))} other tokens"
        )
    return fits[0]


def learned_position_rules(
    position_key: str,
    tokens: tuple[tuple[str, int], ...],
    *,
    num_summary: int,
    num_prefixed: int,
    grid: tuple[int, int],
    width: int,
) -> list[Rule]:
    """Rules for the tokens in front of the patches and for the positions of all.

    A token that is no patch has the same position in every image, so the position is added to the token for good.

    Args:
        position_key: (1, num_prefixed + rows * columns, width).
        tokens: Keys of the tokens in front of the patches, each (1, count, width), and their counts, in order.
        num_summary: How many of these tokens are summary tokens; the rest are registers.
        num_prefixed: How many of these tokens have a position, the first ones.
        grid: Rows and columns of patches.
        width: Channels of a token.
    """
    rows, columns = grid
    num_tokens = sum(count for _, count in tokens)
    targets = ["embeddings.position_embeddings", "embeddings.summary_tokens"]
    if num_tokens > num_summary:
        targets.append("embeddings.register_tokens")

    def compute(positions: torch.Tensor, *parts: torch.Tensor) -> list[torch.Tensor]:
        prefix = torch.cat(parts, dim=1)
        prefix[:, :num_prefixed] += positions[:, :num_prefixed]
        # (1, rows * columns, width) -> (1, width, rows, columns)
        patches = positions[:, num_prefixed:].transpose(1, 2).unflatten(2, (rows, columns))
        results = [patches, prefix[:, :num_summary], prefix[:, num_summary:]]
        return results[: len(targets)]

    sources = ((position_key, (1, num_prefixed + rows * columns, width)),)
    return [Rule(sources + tuple((key, (1, count, width)) for key, count in tokens), tuple(targets), compute)]


def solve_periods(periods: torch.Tensor, name: str) -> tuple[float, float, str]:
    """The two numbers behind stored rotary periods, which must be `min_period * theta ** (k / F)`, k = 0 ... F - 1.

    DINOv3 writes theta = 100 and min_period = 1, or a smallest and largest period (theta is then their ratio to the
    power F / (F - 1)). Periods of a model trained in bfloat16 are stored rounded to it; they must then be exactly the
    rounded values of the formula.

    Args:
        periods: (F,), in half sides of the image.
        name: Of the source, for messages.

    Returns:
        theta, min_period, and a note for the report (empty, or what rounding was found).

    Raises:
        ValueError: No such numbers exist.
    """
    stored, count = periods.double(), len(periods)
    if not bool((stored.isfinite() & (stored > 0)).all()) or count < 1:
        raise ValueError(f"{name} holds rotary periods that are not positive numbers: {periods.tolist()}")
    steps = torch.arange(count, dtype=torch.float64) / count
    logs = stored.log()
    centered = steps - steps.mean()
    slope = float((centered * logs).sum() / centered.square().sum()) if count > 1 else math.log(100.0)
    first = float((logs - slope * steps).mean().exp())
    theta = math.exp(slope)
    is_rounded = bool((stored.to(torch.bfloat16).double() == stored).all())
    # Whole numbers first: nobody chose theta = 99.99998.
    for min_period, base in ((1.0, float(round(theta))), (1.0, theta), (first, theta)):
        formula = min_period * base**steps
        distance = float(((stored - formula) / formula).abs().max())
        if distance <= PERIOD_TOLERANCE:
            return base, min_period, ""
        if is_rounded and torch.equal(formula.to(torch.bfloat16).double(), stored):
            note = f"rotary periods were stored in bfloat16; ZEN computes them exactly (up to {distance:.1e} away)"
            return base, min_period, note
    raise ValueError(
        f"{name} holds rotary periods {[round(period, 5) for period in stored.tolist()]}, which are not of the form "
        f"min_period * theta ** (k / {count}) that ZEN computes (closest: theta {theta:.6g}, min_period {first:.6g})"
    )
