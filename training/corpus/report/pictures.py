"""Small pictures of a corpus: kept frames per source, near-duplicate clusters, masks drawn over frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.corpus.clip_table import as_numpy
from training.corpus.corpus import Corpus
from training.corpus.drop_examples import DropExample
from training.corpus.segments import DUPLICATES_FILE
from training.report.pictures import Thumbnail, data_address

SIDE = 180  # pixels, long side of a picture; it is shown at 130 and stays sharp on dense screens
QUALITY = 80  # of the JPEG; about 8 kB a picture
SOURCES, PER_SOURCE = 12, 6
CLUSTERS, PER_CLUSTER = 8, 8
MASKS = CIRCLES = 8
_TINT = np.array([255, 0, 200], np.float32)  # RGB of masked pixels: a color that no tissue has


@dataclass(frozen=True)
class Cluster:
    """A group of frames that show the same."""

    size: int
    cases: int
    videos: int
    method: str
    distance: float  # the largest in it
    members: list[Thumbnail]


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates of a corpus."""

    clusters: int
    left_out: int  # frames that the loader does not draw
    across_cases: int  # clusters with frames of several cases
    largest: list[Cluster]


def kept_samples(corpus: Corpus) -> list[tuple[str, list[Thumbnail]]]:
    """Some frames of each of the largest sources, spread over its clips; always the same."""
    column = corpus.manifest.column("source").cast(pa.string()).combine_chunks().dictionary_encode()
    codes, names = as_numpy(column.indices), column.dictionary.to_pylist()
    order = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")[:SOURCES]
    return [
        (names[code], [_frame(corpus, row) for row in _evenly(np.flatnonzero(codes == code), PER_SOURCE)])
        for code in order.tolist()
    ]


def masked_samples(corpus: Corpus) -> tuple[list[Thumbnail], int]:
    """Frames with their masked pixels tinted, one per mask, and the number of clips that have a mask."""
    column = corpus.manifest.column("mask").cast(pa.string()).combine_chunks().dictionary_encode()
    codes, names = as_numpy(column.indices), column.dictionary.to_pylist()
    masked = np.array([bool(name) for name in names], bool)
    first = np.unique(codes, return_index=True)[1]  # row of each mask's first clip
    rows = np.sort(np.array([row for row, name in zip(first, names, strict=True) if name], np.int64))
    pictures = []
    for row in _evenly(rows, MASKS):
        clip = corpus.manifest[row]
        valid = corpus.mask(clip)
        frame = corpus.read(clip, [clip.num_frames // 2])[0]
        if valid is not None:
            frame = np.where(valid[..., None], frame, 0.45 * frame + 0.55 * _TINT).astype(np.uint8)
            share = f"{100 * (1 - valid.mean()):.1f} % masked"
            pictures.append(Thumbnail(_address(frame), f"{clip.video_id}, {share}"))
    return pictures, int(masked[codes].sum()) if len(codes) else 0


def circle_samples(corpus: Corpus) -> list[Thumbnail]:
    """Frames with the circle that was found drawn in, one per video, from the least to the most confident."""
    videos = corpus.manifest.column("video_id").cast(pa.string()).combine_chunks().dictionary_encode()
    confidences = corpus.manifest.column("fov_confidence").combine_chunks()
    found = np.flatnonzero(as_numpy(pc.is_valid(confidences).cast(pa.uint8())))
    firsts = found[np.unique(as_numpy(videos.indices)[found], return_index=True)[1]]
    order = np.argsort(as_numpy(pc.fill_null(confidences, 0.0))[firsts], kind="stable")
    pictures = []
    for row in _evenly(firsts[order], CIRCLES):
        clip = corpus.manifest[row]
        frame = corpus.read(clip, [clip.num_frames // 2])[0]
        if clip.fov_cx is not None and clip.fov_cy is not None and clip.fov_radius is not None:
            center, radius = (round(clip.fov_cx), round(clip.fov_cy)), max(round(clip.fov_radius), 1)
            frame = cv2.circle(frame, center, radius, _TINT.tolist(), 2, cv2.LINE_AA)
        pictures.append(Thumbnail(_address(frame), f"{clip.video_id}, confidence {clip.fov_confidence or 0:.2f}"))
    return pictures


def duplicate_clusters(corpus: Corpus) -> Duplicates | None:
    """The near-duplicates in `duplicates.parquet`; `None` when nobody has looked for them."""
    if not corpus.storage.is_file(DUPLICATES_FILE):
        return None
    names = ["cluster", "clip_id", "position", "video_id", "case_id", "representative", "distance", "method"]
    with corpus.storage.reading(DUPLICATES_FILE, "find the duplicates of this corpus anew, or remove the file"):
        table = corpus.storage.table(DUPLICATES_FILE, names)
    _, codes = np.unique(as_numpy(table["cluster"]), return_inverse=True)
    sizes = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    cases = as_numpy(table["case_id"].combine_chunks().dictionary_encode().indices)
    pairs = np.unique(np.stack([codes, cases]), axis=1)[0] if len(codes) else codes
    largest = np.argsort(-sizes, kind="stable")[:CLUSTERS].tolist()
    return Duplicates(
        clusters=len(sizes),
        left_out=table["representative"].to_pylist().count(False),
        across_cases=int((np.bincount(pairs, minlength=len(sizes)) > 1).sum()) if len(sizes) else 0,
        largest=[_cluster(corpus, table.take(np.flatnonzero(codes == code))) for code in largest],
    )


def drop_thumbnails(examples: Sequence[DropExample]) -> list[Thumbnail]:
    """The pictures that curation kept of dropped frames."""
    shown = []
    for example in examples:
        score = "" if example.score is None else f", score {example.score:.3g}"
        hidden = ", blurred" if example.blurred else ""
        caption = f"{_place(example.path, example.timestamp)}{score}{hidden}"
        shown.append(Thumbnail(data_address(example.jpeg), caption))
    return shown


def _cluster(corpus: Corpus, rows: pa.Table) -> Cluster:
    shown = _evenly(np.arange(len(rows)), PER_CLUSTER)
    picked = rows.take(shown)
    clips = corpus.find(picked["clip_id"].to_pylist())
    members = []
    for row in picked.to_pylist():
        frame = corpus.read(clips[row["clip_id"]], [row["position"]])[0]
        caption = f"{row['video_id']}{', kept' if row['representative'] else ''}"
        members.append(Thumbnail(_address(frame), caption))
    return Cluster(
        size=len(rows),
        cases=len(rows["case_id"].unique()),
        videos=len(rows["video_id"].unique()),
        method=str(rows["method"][0].as_py()),
        distance=max((value for value in rows["distance"].to_pylist() if value is not None), default=0.0),
        members=members,
    )


def _frame(corpus: Corpus, row: int) -> Thumbnail:
    """The middle frame of a clip."""
    clip = corpus.manifest[row]
    position = clip.num_frames // 2
    time = clip.t_start + (position / clip.fps if clip.fps else 0.0)
    return Thumbnail(_address(corpus.read(clip, [position])[0]), _place(clip.path, time))


def _place(path: str, seconds: float) -> str:
    """Where a frame is from; stills without a sequence all have time 0."""
    return f"{path}, {seconds:.1f} s" if seconds else path


def _address(frame: np.ndarray) -> str:
    """A frame uint8 (H, W, 3) RGB, made small, as a data address."""
    scale = min(1.0, SIDE / max(frame.shape[:2]))
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {small.shape}")
    return data_address(jpeg.tobytes())


def _evenly(rows: np.ndarray, count: int) -> list[int]:
    """Up to `count` of some rows, at the middles of equal parts."""
    wanted = min(count, len(rows))
    return [int(rows[int((number + 0.5) * len(rows) / wanted)]) for number in range(wanted)]
