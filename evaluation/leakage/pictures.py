"""Frames on two sides of a split that show the same picture, as `training.deduplicate` compares frames."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from evaluation.datasets.dataset import FrameReference
from evaluation.datasets.workflow import Side
from evaluation.frames import decode, sort_key
from evaluation.leakage.cases import Cases
from evaluation.leakage.findings import Finding
from training.corpus.duplicates.hash_search import near_known
from training.corpus.duplicates.likeness import correlations
from training.corpus.duplicates.settings import DeduplicationSettings
from training.corpus.filters.black import BlackFilter, BlackSettings
from training.corpus.filters.picture import THUMBNAIL, Picture
from training.corpus.filters.white import WhiteFilter, WhiteSettings
from training.corpus.perceptual_hash import perceptual_hash

DECODED = 256  # pixels, side of the square that thumbnails are shrunk from; hashes hardly change with aspect ratio
_PAIRS: tuple[tuple[Side, Side], ...] = (("train", "val"), ("train", "test"), ("val", "test"))


@dataclass(frozen=True)
class Pictures:
    """Frames of one side that are neither black nor white, with hashes uint64 (N,) and thumbnails uint8 (N, 32, 32)."""

    cases: list[str]
    frames: list[FrameReference]
    hashes: np.ndarray
    thumbnails: np.ndarray


def near_duplicates(dataset: Cases) -> list[Finding]:
    """One finding per pair of cases on two sides that show the same pictures; every frame is decoded.

    Raises:
        UserError: a frame that cannot be decoded.
    """
    settings = DeduplicationSettings()
    sides = {side: read_pictures(dataset, side) for side in ("train", "val", "test")}
    findings = []
    for side, other_side in _PAIRS:
        one, other = sides[side], sides[other_side]
        by_case: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for row, other_row in alike(one, other, settings):
            pair = _name(dataset, one.frames[row]), _name(dataset, other.frames[other_row])
            by_case[one.cases[row], other.cases[other_row]].append(pair)
        for (case, other_case), pairs in sorted(by_case.items()):
            message = f"{side} case {case!r} and {other_side} case {other_case!r}"
            findings.append(Finding("near-duplicate frames", dataset.dataset, message, tuple(sorted(pairs))))
    return findings


def read_pictures(dataset: Cases, side: Side) -> Pictures:
    """Decode the frames of one side. Raises what `evaluation.frames.decode` does."""
    owned = [(frame, case.name) for case in dataset.on(side) for frame in case.frames]
    owned.sort(key=lambda pair: sort_key(pair[0]))
    black, white = BlackFilter(BlackSettings()), WhiteFilter(WhiteSettings())
    cases, frames, hashes, thumbnails = [], [], [], []
    for (frame, case), image in zip(owned, decode([frame for frame, _ in owned], DECODED), strict=True):
        picture = Picture(image, 0.0)
        if black.score([picture])[0] < black.threshold or white.score([picture])[0] >= white.threshold:
            continue  # such frames resemble each other whatever they are of
        cases.append(case)
        frames.append(frame)
        hashes.append(perceptual_hash(picture.thumbnail))
        thumbnails.append(picture.thumbnail.astype(np.uint8))
    shown = np.array(thumbnails, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
    return Pictures(cases, frames, np.array(hashes, np.uint64), shown)


def alike(one: Pictures, other: Pictures, settings: DeduplicationSettings) -> list[tuple[int, int]]:
    """Pairs of rows that show the same: hashes within `max_distance` and thumbnails of `min_correlation` or more."""
    values, rows = _rows_by_value(one.hashes)
    other_values, other_rows = _rows_by_value(other.hashes)
    pairs = []
    for place, other_place, _ in zip(*near_known(values, other_values, settings.max_distance), strict=True):
        others = other_rows[other_place]
        for row in rows[place].tolist():
            likeness = correlations(one.thumbnails[row], other.thumbnails[others])
            pairs += [(row, int(found)) for found in others[likeness >= settings.min_correlation]]
    return pairs


def _rows_by_value(hashes: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Each hash once, ascending, and the rows that have it."""
    values, counts = np.unique(hashes, return_counts=True)
    return values, np.split(np.argsort(hashes, kind="stable"), np.cumsum(counts)[:-1])


def _name(dataset: Cases, frame: FrameReference) -> str:
    """A frame within the dataset, as path or path#frame."""
    place = dataset.place(frame.path)
    return place if frame.frame_index is None else f"{place}#{frame.frame_index}"
