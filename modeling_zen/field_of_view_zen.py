"""The field of view of an endoscope: the box around the (usually round) picture inside its dark border.

The same rule and numbers as the corpus builder of ZEN's pretraining, in torch alone.
"""

import math

import torch
from torch.nn import functional as F

FRAMES = 24  # frames looked at per video, spread over it; enough that no part stays dark in all of them
WORK_WIDTH = 320  # pixels; the border is found on frames reduced to this width, so boxes are exact to about 0.3 %
PERCENTILE = 80.0  # over the frames: leaves room for some title slides or flashes that fill the border
# Gray levels 0-255 that content exceeds. 15 is the field's cut-margin value; borders that are themselves gray
# (limited-range video shows 16-18) raise it to CONTRAST above their own level.
MIN_LEVEL = 15.0
CONTRAST = 8.0  # gray levels; several times the coding noise of a flat border (below 3)
MAX_BORDER = 32.0  # gray levels; a "border" brighter than this is dark tissue and is not cut
MIN_MARGIN = 0.015  # of the side; thinner margins stay, they cost less than a wrong cut
MIN_SIZE = 0.2  # of the side; a smaller "field of view" is a light in the dark, nothing is cut
FLATNESS = 6.0  # gray levels around a margin's median; genuine borders vary by 1 to 5, dark tissue by more
FLAT_FRACTION = 0.85  # of a margin's pixels that must be so flat for it to be cut

Box = tuple[int, int, int, int]


def spread(count: int, wanted: int = FRAMES) -> list[int]:
    """Up to `wanted` frame numbers spread over 0 to count - 1, each in the middle of its share of the video."""
    wanted = min(count, wanted)
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]


def field_of_view_box(frames: torch.Tensor) -> Box:
    """The box around the picture content, from one frame or several frames of one video.

    Each pixel is judged by a percentile over the frames of its brightest channel. Thin lettering in the border is
    removed by a median filter, and only the largest connected region counts. A side is cut only when what is cut off
    is flat, as a border is: dark tissue at the side stays.

    Args:
        frames: uint8 (frames, 3, height, width) or (frames, height, width, 3), RGB; where both could be meant, the
            former. `spread` says which frames of a video to take.

    Returns:
        Left, top, right, bottom in pixels of these frames, right and bottom exclusive; the whole frame when there is no
        border to cut or no content to find.

    Raises:
        ValueError: Not such a tensor, or an empty one.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or 3 not in (frames.shape[1], frames.shape[3]):
        raise ValueError(
            f"frames must be uint8 (n, 3, height, width) or (n, height, width, 3), "
            f"got {str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}"
        )
    if not frames.numel():
        raise ValueError(f"frames are empty: {tuple(frames.shape)}")
    if frames.shape[1] != 3:
        frames = frames.permute(0, 3, 1, 2)
    height, width = frames.shape[2:]
    everything = (0, 0, width, height)
    stack = _reduced(frames)  # (frames, rows, columns)
    rows, columns = stack.shape[1:]
    lit = stack.mean(dim=(1, 2)) > MIN_LEVEL
    picture = _percentile(stack[lit] if lit.any() else stack, PERCENTILE)  # (rows, columns)
    border = float(_percentile(picture.flatten(), 2))
    if border > MAX_BORDER:
        return everything
    found = _largest_region(_median(picture > max(MIN_LEVEL, border + CONTRAST)))
    if found is None:
        return everything
    left, top, right, bottom = found
    if left < MIN_MARGIN * columns or not _is_flat(picture[:, :left]):
        left = 0
    if columns - right < MIN_MARGIN * columns or not _is_flat(picture[:, right:]):
        right = columns
    if top < MIN_MARGIN * rows or not _is_flat(picture[:top]):
        top = 0
    if rows - bottom < MIN_MARGIN * rows or not _is_flat(picture[bottom:]):
        bottom = rows
    if right - left < MIN_SIZE * columns or bottom - top < MIN_SIZE * rows:
        return everything
    across, down = width / columns, height / rows
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def paste_field_of_view(maps: torch.Tensor, box: Box, height: int, width: int, fill: float = 0) -> torch.Tensor:
    """Dense maps of a cropped frame, laid back into the whole frame.

    Args:
        maps: (..., bottom - top, right - left): already resized to the box.
        box: What `field_of_view_box` gave.
        height: Pixels of the whole frame.
        width: Pixels of the whole frame.
        fill: Value outside of the field of view.

    Returns:
        (..., height, width), of the same dtype.

    Raises:
        ValueError: The maps are not of the size of the box, or the box reaches out of the frame.
    """
    left, top, right, bottom = (int(side) for side in box)
    is_inside = min(left, top) >= 0 and right <= width and bottom <= height
    if maps.shape[-2:] != (bottom - top, right - left) or not is_inside:
        raise ValueError(
            f"maps of {tuple(maps.shape[-2:])} do not fill the box {(left, top, right, bottom)} in {(height, width)}"
        )
    whole = maps.new_full((*maps.shape[:-2], height, width), fill)
    whole[..., top:bottom, left:right] = maps
    return whole


def _reduced(frames: torch.Tensor) -> torch.Tensor:
    """Brightest channel of frames averaged over areas: uint8 (n, 3, h, w) to float64 (n, rows, WORK_WIDTH at most)."""
    height, width = frames.shape[2:]
    scale = min(1.0, WORK_WIDTH / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    if (rows, columns) == (height, width):
        return frames.amax(1).double()
    whole = height % rows == 0 and width % columns == 0
    down, across = (_areas(*sides).to(frames.device) for sides in ((height, rows), (width, columns)))
    reduced = []
    for frame in frames:  # one by one: the floats of 24 frames of full HD would take 600 MB
        levels = frame.contiguous().float()
        mean = F.avg_pool2d(levels, (height // rows, width // columns)) if whole else down @ levels @ across.T
        reduced.append(mean.round().amax(0))
    return torch.stack(reduced).double()


def _areas(size: int, reduced: int) -> torch.Tensor:
    """Weights (reduced, size) of the mean over equal shares of `size` pixels, which may cut through pixels."""
    share = size / reduced
    begin = torch.arange(reduced, dtype=torch.float64)[:, None] * share
    pixel = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(begin + share, pixel + 1) - torch.maximum(begin, pixel)
    return (overlap.clamp(min=0) / share).float()


def _percentile(values: torch.Tensor, percent: float) -> torch.Tensor:
    """Percentile over the first dimension, with linear interpolation. (torch.quantile takes 16 million values only.)"""
    place = (len(values) - 1) * percent / 100
    below, above = math.floor(place), math.ceil(place)
    ordered = values.sort(dim=0).values
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _median(content: torch.Tensor) -> torch.Tensor:
    """Median filter of 5 x 5 on bool (rows, columns), the sides repeated outwards."""
    padded = F.pad(content.float()[None, None], (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(padded, 5, stride=1)[0, 0] > 0.5


def _is_flat(margin: torch.Tensor) -> bool:
    """Whether a strip of the picture, gray levels (h, w), has one level, as a border has."""
    levels = margin.flatten()
    return bool(((levels - _percentile(levels, 50)).abs() <= FLATNESS).double().mean() >= FLAT_FRACTION)


def _largest_region(content: torch.Tensor) -> Box | None:
    """Left, top, right, bottom of the largest 4-connected region of bool (rows, columns); `None` without any.

    Regions are joined from runs: stretches of ones in a row, of which a picture has few.
    """
    rows, columns = content.shape
    edges = F.pad(content.cpu().to(torch.int8), (1, 1)).diff(dim=1)  # 1 where a run begins, -1 behind its end
    begins, ends = (edges == 1).nonzero().tolist(), (edges == -1).nonzero()[:, 1].tolist()
    if not begins:
        return None
    runs = [(row, begin, end) for (row, begin), end in zip(begins, ends, strict=True)]
    region = list(range(len(runs)))

    def root(run: int) -> int:
        while region[run] != run:
            region[run] = region[region[run]]
            run = region[run]
        return run

    above = 0  # first run that may touch the current one from the row above
    for current, (row, begin, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] <= begin):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] < end:
            region[root(current)] = root(other)
            other += 1
    areas: dict[int, int] = {}
    for run, (_, begin, end) in enumerate(runs):
        areas[root(run)] = areas.get(root(run), 0) + end - begin
    largest = max(areas, key=lambda each: areas[each])
    mask = torch.zeros((rows, columns), dtype=torch.bool)
    for run, (row, begin, end) in enumerate(runs):
        if root(run) == largest:
            mask[row, begin:end] = True
    # A row or column belongs to the region when a few of its pixels do: single-pixel spurs do not widen the box.
    across = (mask.double().mean(0) >= 0.02).nonzero()[:, 0].tolist()
    down = (mask.double().mean(1) >= 0.02).nonzero()[:, 0].tolist()
    return (across[0], down[0], across[-1] + 1, down[-1] + 1) if across and down else None


__all__ = ["Box", "field_of_view_box", "paste_field_of_view", "spread"]
