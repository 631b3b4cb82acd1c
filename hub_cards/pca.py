"""A picture of what a model has learned: the three main directions of its dense tokens as colors, beside frames."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig

from evaluation.backbones import Backbone, load_zen, random_init
from hub_cards.corpus_facts import spread_frames
from modeling_zen import ZenConfig
from training.corpus.corpus import Corpus
from training.corpus.manifest import Clip
from training.report.dense_pca import compose, pca_colors
from training.teachers import Teacher

TEACHER_SIDE = 448  # pixels of the longer side of a frame as the teacher sees it: 14 cells of a stride of 32
STUDENT_SCALE = 2  # longer side over the size of pretraining: a finer grid, yet near the scale it has learned
FRAMES = 5  # rows of the picture

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
