"""Pictures of dense tokens: their three main directions as colors, beside the frames they are of."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL_WIDTH = 320  # pixels of one column of the picture
MAX_CELL_HEIGHT = 320
GAP = 8
HEADER = 36
CLIPPED = (1.0, 99.0)  # percentiles of a component that become 0 and 1, so that a few outliers do not dim the rest


def pca_colors(grids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The first three principal components of all tokens of all `grids`, as colors.

    Args:
        grids: dense tokens of each frame, float (D, h, w); h and w may differ between frames, D >= 3.

    Returns:
        float64 (h, w, 3) in [0, 1] per frame: red is the first component. One set of components and one scale serve all
        frames, so equal colors mean equal directions. A component has no sign of its own: it is turned so that its
        distribution leans to the right, which makes the picture the same at every call.
    """
    tokens = np.concatenate([grid.reshape(grid.shape[0], -1).T for grid in grids]).astype(np.float64)  # (N, D)
    centered = tokens - tokens.mean(axis=0)
    _, vectors = np.linalg.eigh(centered.T @ centered)  # ascending eigenvalues
    scores = centered @ vectors[:, ::-1][:, :3]  # (N, 3)
    skewed_left = (scores**3).sum(axis=0) < 0
    scores = np.where(skewed_left, -scores, scores)
    low, high = np.percentile(scores, CLIPPED, axis=0)
    colors = np.clip((scores - low) / np.maximum(high - low, 1e-12), 0, 1)
    ends = np.cumsum([grid.shape[1] * grid.shape[2] for grid in grids])
    return [part.reshape(*grid.shape[1:], 3) for part, grid in zip(np.split(colors, ends[:-1]), grids, strict=True)]


def compose(images: Sequence[np.ndarray], columns: dict[str, list[np.ndarray]]) -> Image.Image:
    """One row per image: the image uint8 (H, W, 3), then each column's colors (h, w, 3) in [0, 1], as large squares."""
    boxes = [_box(image) for image in images]
    width = (CELL_WIDTH + GAP) * (1 + len(columns)) - GAP
    height = HEADER + sum(box[1] for box in boxes) + GAP * (len(images) - 1)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    for number, title in enumerate(["held-out frame", *columns]):
        text = _shortened(title, font)
        draw.text((number * (CELL_WIDTH + GAP), 6), text, fill=(40, 40, 40), font=font)
    top = HEADER
    for row, (image, box) in enumerate(zip(images, boxes, strict=True)):
        cells = [Image.fromarray(image).resize(box, Image.Resampling.LANCZOS)]
        for colors in columns.values():
            # Nearest: the cells are what the model says; a smooth picture would claim a finer grid.
            grid = Image.fromarray(np.round(colors[row] * 255).astype(np.uint8))
            cells.append(grid.resize(box, Image.Resampling.NEAREST))
        for number, cell in enumerate(cells):
            canvas.paste(cell, (number * (CELL_WIDTH + GAP) + (CELL_WIDTH - box[0]) // 2, top))
        top += box[1] + GAP
    return canvas


def _box(image: np.ndarray) -> tuple[int, int]:
    """(width, height) of a frame in the picture."""
    scale = min(CELL_WIDTH / image.shape[1], MAX_CELL_HEIGHT / image.shape[0])
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


def _shortened(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`title`, cut so that it stays inside its column."""
    kept = title
    while font.getlength(kept) > CELL_WIDTH - GAP:
        kept = kept.removesuffix("...")[:-1] + "..."
    return kept
