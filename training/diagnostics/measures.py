"""All measures of one model that need no head: what is computed from its features on the held-out frames."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from training.diagnostics.alignment import alignment
from training.diagnostics.alpha_req import alpha_req
from training.diagnostics.cka import debiased_cka, gram
from training.diagnostics.correspondence import guess_tokens, match_tokens
from training.diagnostics.drift import drift
from training.diagnostics.effective_rank import effective_rank
from training.diagnostics.features import SubjectFeatures, dense_of, frame_vectors
from training.diagnostics.frames import Frames
from training.diagnostics.intervals import VideoBootstrap, estimate
from training.diagnostics.lidar import lidar
from training.diagnostics.mutual_knn import mutual_knn
from training.diagnostics.outlier_tokens import outlier_share
from training.diagnostics.positional_leak import positional_leak
from training.diagnostics.rank_me import rank_me
from training.diagnostics.resolution_consistency import centered_cosines
from training.diagnostics.rows import Row, RowMaker, at
from training.diagnostics.settings import DiagnoseSettings
from training.diagnostics.spectrum import covariance_eigenvalues, singular_values
from training.diagnostics.stable_rank import stable_rank
from training.diagnostics.temporal_retrieval import (
    Queries,
    chance_of_recall,
    near_in_time,
    recall_at_k,
    same_video_later,
)
from training.diagnostics.uniformity import uniformity
from training.diagnostics.warps import WARPS
from training.objectives.grids import resample_tokens, valid_tokens
from training.teachers.teacher import TeacherOutput

LEAST_CLASSES = 3  # clips that LiDAR needs: with two the rank between them is 1 whatever the features are


def spread_of_features(maker: RowMaker, features: TeacherOutput, frames: Frames, seed: int) -> list[Row]:
    """Ranks of the frame vectors and of one dense token of every frame; LiDAR of the frame vectors."""
    vectors = frame_vectors(features)
    rows = []
    for tokens, each in (("frame", vectors), ("dense", one_token_each(features, seed))):
        facts: dict[str, Any] = {"tokens": tokens, "most": float(min(each.shape))}
        rows.append(maker.whole("rank_me", _of_spectrum(rank_me, singular_values, each), **facts))
        for name, measure in (("effective_rank", effective_rank), ("stable_rank", stable_rank)):
            rows.append(maker.whole(name, _of_spectrum(measure, covariance_eigenvalues, each), **facts))
        rows.append(maker.whole("alpha_req", _of_spectrum(alpha_req, covariance_eigenvalues, each), tokens=tokens))
    return [*rows, _lidar(maker, vectors, frames)]


def one_token_each(features: TeacherOutput, seed: int) -> np.ndarray:
    """A dense token of every frame at a place drawn from `seed`, float32 (N, D)."""
    tokens = dense_of(features).flatten(2).numpy()  # (N, D, h*w)
    places = np.random.default_rng(seed).integers(tokens.shape[2], size=len(tokens))
    return tokens[np.arange(len(tokens)), :, places]


def likeness_to_teacher(
    maker: RowMaker, features: TeacherOutput, teacher: str, theirs: TeacherOutput, neighbors: int
) -> list[Row]:
    """CKA and mutual nearest neighbors of frame vectors."""
    mine, other = frame_vectors(features), frame_vectors(theirs)
    first, second = gram(mine), gram(other)

    def cka(weights: np.ndarray) -> float:
        rows = np.repeat(np.arange(len(weights)), weights)
        return debiased_cka(first, second, rows) if len(rows) >= 4 else float("nan")

    rows = [maker.whole("cka", cka, teacher=teacher, tokens="frame", chance=0.0)]
    if neighbors >= len(mine):
        note = f"{neighbors} neighbors need more than {neighbors} frames"
        return [*rows, maker.missing("mutual_knn", note, teacher=teacher, tokens="frame", variant=f"k={neighbors}")]
    shares = mutual_knn(mine, other, neighbors)
    chance = neighbors / (len(mine) - 1)
    facts = {"teacher": teacher, "tokens": "frame", "variant": f"k={neighbors}", "chance": chance}
    return [*rows, maker.mean("mutual_knn", shares, **facts)]


def dense_quality(maker: RowMaker, features: SubjectFeatures, frames: Frames, rows: np.ndarray, grid: int) -> list[Row]:
    """Correspondence under known warps, positional leak and outlier tokens."""
    original, asked = resampled(features.whole, grid)[rows], _asked(frames, rows, grid)
    found = []
    for warp in WARPS:
        warped, places = resampled(features.warped[warp.name], grid), warp.cells(grid)
        matches = [
            match_tokens(first, second, places, own) for first, second, own in zip(original, warped, asked, strict=True)
        ]
        hits, returned, queries = (at(rows, column, len(frames)) for column in np.array(matches, float).T)
        facts = {"tokens": "dense", "variant": warp.name}
        found.append(maker.ratio("pck", hits, queries, **facts))
        found.append(maker.ratio("cycle_consistency", returned, queries, **facts))
    tokens = np.ascontiguousarray(dense_of(features.whole).flatten(2).transpose(1, 2).numpy())  # (N, h*w, D)
    leak = maker.whole("positional_leak", lambda w: positional_leak(tokens, w), tokens="dense", chance=1 / len(frames))
    return [*found, leak, maker.mean("outlier_tokens", outlier_share(tokens), tokens="dense")]


def without_looking(bootstrap: VideoBootstrap, frames: Frames, rows: np.ndarray, grid: int) -> list[Row]:
    """What correspondence scores by chance, and by a model of positions alone."""
    found = []
    for warp in WARPS:
        guesses = [guess_tokens(warp.cells(grid), own) for own in _asked(frames, rows, grid)]
        chance, stayed, queries = (at(rows, column, len(frames)) for column in np.array(guesses, float).T)
        for name, hits in (("a random match", chance), ("positions alone", stayed)):
            found.append(RowMaker(name, bootstrap).ratio("pck", hits, queries, tokens="dense", variant=warp.name))
    return found


def resolution(maker: RowMaker, features: SubjectFeatures, frames: Frames, rows: np.ndarray) -> list[Row]:
    """Centered cosine of frame vectors and of dense tokens (on the own grid) between the own size and others."""
    vectors, dense = frame_vectors(features.whole), dense_of(features.whole)
    grid, count = (dense.shape[2], dense.shape[3]), len(frames)
    tokens = dense.flatten(2).transpose(1, 2).numpy()  # (N, h*w, D)
    center, token_center = vectors.mean(axis=0), tokens.mean(axis=(0, 1))
    found = []
    for scale, other in sorted(features.resized.items()):
        edge = features.subject.sizes([scale])[scale][0]
        facts = {"variant": f"{scale:g} x ({edge} px)"}
        own = centered_cosines(vectors[rows], frame_vectors(other), center)
        found.append(maker.mean("resolution_consistency", at(rows, own, count), tokens="frame", **facts))
        theirs = dense_of(other)
        back = resample_tokens(theirs.flatten(2).transpose(1, 2), (theirs.shape[2], theirs.shape[3]), grid).numpy()
        width = tokens.shape[2]
        cosines = centered_cosines(tokens[rows].reshape(-1, width), back.reshape(-1, width), token_center)
        per_frame = cosines.reshape(len(rows), -1).mean(axis=1)
        found.append(maker.mean("resolution_consistency", at(rows, per_frame, count), tokens="dense", **facts))
    if not found:
        found.append(maker.missing("resolution_consistency", "it takes inputs of one size only", tokens="frame"))
    return found


def time(maker: RowMaker, features: TeacherOutput, frames: Frames, settings: DiagnoseSettings) -> list[Row]:
    """Retrieval of frames near in time and of the same video, and drift."""
    vectors, tau = frame_vectors(features), settings.tau_seconds
    near = near_in_time(frames.videos, frames.times, tau, frames.alike)
    later = same_video_later(frames.videos, frames.times, tau)
    found = []
    for k in settings.recall_at:
        for measure, queries in (("temporal_retrieval", near), ("same_video_retrieval", later)):
            found.append(_recall(maker, measure, vectors, queries, k, tau))
    return [*found, _drift(maker, vectors, frames, tau)]


def sphere(maker: RowMaker, features: SubjectFeatures, frames: Frames, rows: np.ndarray) -> list[Row]:
    """Alignment of a frame with its warped copies, and uniformity of all frames."""
    vectors = frame_vectors(features.whole)
    apart = [alignment(vectors[rows], frame_vectors(other)) for other in features.warped.values()]
    return [
        maker.mean("alignment", at(rows, np.mean(apart, axis=0), len(frames)), tokens="frame"),
        maker.whole("uniformity", lambda w: uniformity(vectors, w), tokens="frame"),
    ]


def resampled(features: TeacherOutput, grid: int) -> np.ndarray:
    """Dense tokens on a square grid of `grid` cells a side, float32 (N, D, grid, grid), bilinear."""
    dense = dense_of(features)
    shrinks = grid < max(dense.shape[2:])
    size = (grid, grid)
    return F.interpolate(dense, size=size, mode="bilinear", align_corners=False, antialias=shrinks).numpy()


def _of_spectrum(
    measure: Callable[[np.ndarray], float],
    spectrum: Callable[[np.ndarray, np.ndarray], np.ndarray],
    features: np.ndarray,
) -> Callable[[np.ndarray], float]:
    """A measure of a spectrum as a function of how often each frame counts."""
    return lambda weights: measure(spectrum(features, weights))


def _asked(frames: Frames, rows: np.ndarray, grid: int) -> np.ndarray:
    """Cells of pixels that count, bool (M, grid, grid)."""
    return valid_tokens(frames.valid[torch.from_numpy(rows)], (grid, grid)).view(-1, grid, grid).numpy()


def _lidar(maker: RowMaker, vectors: np.ndarray, frames: Frames) -> Row:
    """Clips of at least two of the frames are the classes."""
    _, classes, sizes = np.unique(frames.clips, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(sizes[classes] >= 2)
    _, firsts, classes = np.unique(classes[rows], return_index=True, return_inverse=True)
    facts = {"tokens": "frame", "most": float(min(len(firsts) - 1, vectors.shape[1]))}
    if len(firsts) < LEAST_CLASSES:
        note = f"needs {LEAST_CLASSES} clips of at least 2 of the frames, there are {len(firsts)}"
        return maker.missing("lidar", note, tokens="frame")
    return maker.whole("lidar", lambda w: lidar(vectors[rows], classes, w[firsts]), rows, **facts)


def _recall(maker: RowMaker, measure: str, vectors: np.ndarray, queries: Queries, k: int, tau: float) -> Row:
    facts = {"tokens": "frame", "variant": f"k={k}, ±{tau:g} s" if measure == "temporal_retrieval" else f"k={k}"}
    if not queries.asked.any():
        return maker.missing(measure, "no video with a time line has frames to find", **facts)
    chance = float(np.nanmean(chance_of_recall(queries, k)))
    return maker.mean(measure, recall_at_k(vectors, queries, k), chance=chance, **facts)


def _drift(maker: RowMaker, vectors: np.ndarray, frames: Frames, tau: float) -> Row:
    """The mean over videos."""
    values = np.full(int(frames.videos.max()) + 1, np.nan)
    stepped = False
    for video in range(len(values)):
        rows = np.flatnonzero(frames.videos == video)
        gaps = np.diff(frames.times[rows])  # frames come in the order of time
        steps: Sequence[tuple[int, int]] = [(i, i + 1) for i in np.flatnonzero((gaps > 0) & (gaps <= tau)).tolist()]
        # With a single step over two frames the next frame is also every other one.
        if len(rows) > 2 and steps:
            stepped = True
            values[video] = drift(vectors[rows], steps)
    if not stepped:
        return maker.missing("drift", f"no video has three frames with steps of at most {tau:g} s", tokens="frame")
    return maker.of("drift", estimate(maker.bootstrap.of_videos(values)), tokens="frame", chance=1.0)
