"""Semantic segmentation by a linear map of dense tokens: mean IoU from one global confusion matrix per case."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.backbones import Backbone
from evaluation.datasets import Dataset, Record, read_mask
from evaluation.datasets.dataset import IGNORE
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.metrics.mean_iou import confusion_matrix, iou_per_class, mean_iou
from evaluation.metrics.mean_iou.mean_iou import VARIANT
from evaluation.protocols.cells import fit_cell_probe
from evaluation.scoring import Measured
from evaluation.scoring.measured import named
from evaluation.tasks.labels import case_index, split_records
from evaluation.tasks.problems import CONSTANT, sha256_of_file
from evaluation.tasks.task import Aim, Outcome
from training.errors import UserError

_IMAGES = 8  # test images read at a time: bounds memory at native resolution


class SegmentationTask:
    """Masks of single frames. The probe sees the backbone's own grid; scores are taken at the masks' native size."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset.name
        self.data_sha256 = dataset.fingerprint()
        self.split, train, test = split_records(dataset)
        self._train, self._test = ([record for record in side if record.mask] for side in (train, test))
        self._names, self._ignore = dataset.mask_classes, dataset.mask_ignore
        self.frames: Sequence[AnyFrame] = [record.frame for record in (*self._train, *self._test)]
        self.dense_frames = self.frames
        self._counts: dict[tuple[int, int], np.ndarray] = {}  # by grid: masks are read once per grid, not per backbone

    def aims(self, backbones: Sequence[Backbone]) -> list[Aim]:
        """One, whatever the backbones."""
        return [Aim()]

    def predict(self, aim: Aim, probe: str, store: FeatureStore, backbone: str, seed: int) -> Outcome:
        """Confusion matrices of the probe fitted on the training frames; logits are upsampled bilinearly."""
        counts = self._train_counts(store.grid(backbone))
        cases = [record.case_id for record in self._train]
        tokens = store.dense(backbone, [record.frame for record in self._train])
        fitted, chosen = fit_cell_probe(tokens, counts, cases, seed)
        confusions = np.zeros((len(self.split.test), len(self._names), len(self._names)), dtype=np.int64)
        index = case_index(self.split.test, self._test)
        for start in range(0, len(self._test), _IMAGES):
            batch = self._test[start : start + _IMAGES]
            logits = fitted.logits(store.dense(backbone, [record.frame for record in batch]))  # (n, K, h, w)
            for offset, record in enumerate(batch):
                mask = self._mask(record)
                confusions[index[start + offset]] += _confusion(logits[offset], mask)
        return Outcome([measured_iou(self.split.test, confusions, self._names)], chosen)

    def constant(self, aim: Aim, store: FeatureStore) -> Outcome:
        """Every pixel gets the most frequent class of the training masks."""
        classes = len(self._names)
        frequent = int(self._train_counts((1, 1)).sum(axis=(0, 1, 2)).argmax())
        confusions = np.zeros((len(self.split.test), classes, classes), dtype=np.int64)
        for position, record in zip(case_index(self.split.test, self._test), self._test, strict=True):
            confusions[position, :, frequent] += np.bincount(self._mask(record).ravel(), minlength=256)[:classes]
        return Outcome([measured_iou(self.split.test, confusions, self._names)], CONSTANT)

    def test_digests(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of the image or video files of each test case, in frame order."""
        files: dict[str, dict[Path, None]] = {}
        for record in self._test:
            files.setdefault(record.case_id, {})[record.frame.path] = None
        return {case: [sha256_of_file(path) for path in paths] for case, paths in files.items()}

    def _mask(self, record: Record) -> np.ndarray:
        if record.mask is None:
            raise ValueError(f"frame {record.frame} has no mask")
        return read_mask(record.mask, len(self._names), self._ignore)

    def _train_counts(self, grid: tuple[int, int]) -> np.ndarray:
        if grid not in self._counts:
            counts = [cell_counts(self._mask(record), grid, len(self._names)) for record in self._train]
            self._counts[grid] = np.stack(counts)
            if not self._counts[grid].any():
                raise UserError(f"dataset {self.dataset}: no training mask has a labeled pixel")
        return self._counts[grid]


def measured_iou(cases: tuple[str, ...], confusions: np.ndarray, names: tuple[str, ...]) -> Measured:
    """Mean IoU from pixel confusion matrices by (reference, prediction), int64 (cases, K, K), of each case."""
    total = confusions.sum(axis=0)
    per_class = named(names, iou_per_class(total))
    detail = {
        "per_class": per_class,
        "absent_classes": [name for name, value in per_class.items() if value is None],
        "pixels": dict(zip(names, total.sum(axis=1).tolist(), strict=True)),
    }

    def compute(weights: np.ndarray) -> np.ndarray:
        return mean_iou(np.einsum("rc,cij->rij", weights, confusions.astype(np.float64)))

    return Measured("mean_iou", VARIANT, cases, compute, primary=True, detail=detail)


def cell_counts(mask: np.ndarray, grid: tuple[int, int], classes: int) -> np.ndarray:
    """Labeled pixels of each class in each cell of a grid laid over the mask.

    Args:
        mask: uint8 (H, W), 255 = no label.
        grid: (h, w); pixel (y, x) belongs to cell (y * h // H, x * w // W).
        classes: K.

    Returns:
        int64 (h, w, K).
    """
    (height, width), (h, w) = mask.shape, grid
    rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
    cells = rows[:, None] * w + columns[None]  # (H, W)
    labeled = mask != IGNORE
    flat = cells[labeled] * classes + mask[labeled]
    return np.bincount(flat, minlength=h * w * classes).reshape(h, w, classes)


def _confusion(logits: torch.Tensor, mask: np.ndarray) -> np.ndarray:
    """Upsample logits (K, h, w) to the mask's size and count."""
    upsampled = F.interpolate(logits[None], size=mask.shape, mode="bilinear", align_corners=False)[0]
    return confusion_matrix(mask, upsampled.numpy().argmax(axis=0), len(logits), IGNORE)
