"""A picture of what a model has learned: the three main directions of its dense tokens as colors, beside frames."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from transformers import AutoConfig

from evaluation.backbones import Backbone, load_zen, random_init
from hub_cards.corpus_facts import spread_frames
from modeling_zen import ZenConfig
from training.corpus.corpus import Corpus
from training.corpus.manifest import Clip
from training.teachers import Teacher

TEACHER_SIDE = 448  # pixels of the longer side of a frame as the teacher sees it: 14 cells of a stride of 32
STUDENT_SCALE = 2  # longer side over the size of pretraining: a finer grid, yet near the scale it has learned
FRAMES = 5  # rows of the picture
CELL_WIDTH = 320  # pixels of one column of the picture
MAX_CELL_HEIGHT = 320
GAP = 8
HEADER = 36
CLIPPED = (1.0, 99.0)  # percentiles of a component that become 0 and 1, so that a few outliers do not dim the rest

DenseModel = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) RGB -> float32 (D, h, w)


@dataclass(frozen=True)
class DensePicture:
    """The picture and what it shows."""

    image: Image.Image
    columns: tuple[str, ...]  # titles of the models, from the left
    clips: tuple[Clip, ...]  # the clip of each row

    @property
    def note(self) -> str:
        """What the picture shows, how it was made, where the frames are from and under which licence."""
        sources = sorted({f"{clip.source} ({clip.licence or 'licence not recorded'})" for clip in self.clips})
        return (
            "Held-out frames and, beside each, the first three principal components of the dense tokens as red, green "
            f"and blue: {', '.join(self.columns)}. Each model has its own components, fitted on all frames shown; "
            "equal colors mean equal directions within a column, not across columns. "
            f"Frames: {'; '.join(sources)}."
        )

    def png(self) -> bytes:
        """The picture as a PNG file."""
        file = io.BytesIO()
        self.image.save(file, format="PNG")
        return file.getvalue()


def dense_pca_picture(
    model: Path, corpus: Corpus, teacher: Teacher | None = None, *, seed: int = 0, frames: int = FRAMES
) -> DensePicture | None:
    """Frames of held-out cases beside the dense tokens of the model, of its random initialization and of one teacher.

    Args:
        model: folder of the trained model.
        corpus: where the held-out frames come from; they are spread over its cases, the same at every call.
        teacher: a teacher to show beside it; it must give dense tokens.
        seed: of the random initialization.
        frames: how many rows.

    Returns:
        The picture, or `None` if the corpus has no held-out case.

    Raises:
        UserError: the model cannot be loaded.
    """
    shown = spread_frames(corpus, "held_out", frames)
    if not shown:
        return None
    images = [corpus.read(clip, [position])[0] for clip, position in shown]
    device = torch.device("cpu")
    student = load_zen(str(model), device)
    config = AutoConfig.from_pretrained(str(model))
    models = {"student": _zen(student, config), "random init": _zen(random_init(student, seed, device), config)}
    if teacher is not None:
        models[f"teacher {teacher.spec.name}"] = _teacher(teacher)
    columns = {title: pca_colors([dense(image) for image in images]) for title, dense in models.items()}
    return DensePicture(compose(images, columns), tuple(columns), tuple(clip for clip, _ in shown))


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


def legal_size(height: int, width: int, multiple: int, long_side: int) -> tuple[int, int]:
    """(height, width), multiples of `multiple`, with about this aspect ratio and a longer side of about `long_side`."""
    scale = long_side / max(height, width)
    return (
        max(1, round(height * scale / multiple)) * multiple,
        max(1, round(width * scale / multiple)) * multiple,
    )


def _zen(backbone: Backbone, config: ZenConfig) -> DenseModel:
    """Dense tokens of a ZEN at about `STUDENT_SCALE` times the size of its pretraining."""
    size = config.image_size
    long_side = STUDENT_SCALE * (size if isinstance(size, int) else max(size))

    def dense(image: np.ndarray) -> np.ndarray:
        height, width = legal_size(image.shape[0], image.shape[1], config.patch_size, long_side)
        return backbone.extract(_resize(image, height, width)[None]).dense[0]

    return dense


def _teacher(teacher: Teacher) -> DenseModel:
    """Dense tokens of a teacher at its legal size nearest to `TEACHER_SIDE` pixels."""

    @torch.inference_mode()
    def dense(image: np.ndarray) -> np.ndarray:
        spec = teacher.spec
        wanted = legal_size(image.shape[0], image.shape[1], 1, TEACHER_SIDE)
        size = spec.fixed_size or tuple(min(spec.nearest_sizes(edge), key=lambda s: abs(s - edge)) for edge in wanted)
        pixels = torch.from_numpy(_resize(image, *size)).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        output = teacher(pixels, size=size)
        return output.dense[0].numpy()

    return dense


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` uint8 (H, W, 3) at another size; averaging when it shrinks, so that no pattern folds."""
    smaller = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


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
