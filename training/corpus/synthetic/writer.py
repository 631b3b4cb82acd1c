"""Writes rendered cases to disk: one H.264 video and one ground-truth folder per case, each complete or absent."""

import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from training.corpus.synthetic.case import RenderedFrame, render_case
from training.corpus.synthetic.records import DEPTH_UNIT, SCHEMA_VERSION, DatasetInfo, read_info, write_records
from training.corpus.synthetic.settings import SPLITS, SyntheticSettings
from training.corpus.synthetic.vocabulary import CLASSES, INSTRUMENTS, PHASES, PROCEDURES, TARGETS, TRIPLETS, VERBS
from training.errors import UserError

RENDERER_VERSION = 1  # raised whenever the same settings give other pixels or ground truth
_PARTIAL = ".partial"


def write_dataset(folder: str | Path, settings: SyntheticSettings) -> Path:
    """Render all cases of `settings` that `folder` does not hold yet.

    A case appears under its final name only when it is complete: its ground truth first, its video last. Calling it
    again renders what is missing, and nothing when all is there.

    Args:
        folder: new, empty, or written before with the same settings (`workers` may differ).
        settings: see `SyntheticSettings`.

    Returns:
        `folder` as a path; read it with `read_ground_truth`.

    Raises:
        UserError: the folder holds other files or a corpus of other settings.
    """
    root = Path(folder)
    _claim(root, settings)
    shutil.rmtree(root / _PARTIAL, ignore_errors=True)
    missing = [
        (split, index)
        for split in SPLITS
        for index, case_id in enumerate(settings.case_ids(split))
        if not _video(root, split, case_id).is_file()
    ]
    with tqdm(total=len(missing), desc="render synthetic cases", unit="case", disable=not missing) as progress:
        if settings.workers == 1 or len(missing) < 2:
            for split, index in missing:
                write_case(root, settings, split, index)
                progress.update()
        else:
            context = multiprocessing.get_context("spawn")
            count = min(settings.workers, len(missing))
            with ProcessPoolExecutor(count, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
                jobs = [pool.submit(write_case, root, settings, split, index) for split, index in missing]
                try:
                    for job in as_completed(jobs):
                        job.result()
                        progress.update()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
    if (root / _PARTIAL).is_dir():
        shutil.rmtree(root / _PARTIAL)
    return root


def write_case(root: Path, settings: SyntheticSettings, split: str, index: int) -> None:
    """Render one case into `root`; nothing of it is visible there before it is complete."""
    case_id = settings.case_ids(split)[index]
    video, truth = _video(root, split, case_id), root / split / "ground_truth" / case_id
    (root / _PARTIAL).mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{split}-{case_id}-", dir=root / _PARTIAL))
    partial = work / "ground_truth"
    for kind in ("semantic", "instance", "depth"):
        (partial / kind).mkdir(parents=True)
    records = []

    def images() -> Iterable[np.ndarray]:
        for frame in render_case(settings, split, index):
            records.append(frame.record)
            if frame.record.annotated:
                _write_annotation(frame, partial)
            yield frame.image

    write_video(images(), work / "video.mp4", settings.rate, settings.width, settings.height)
    write_records(records, partial / "frames.parquet")
    truth.parent.mkdir(parents=True, exist_ok=True)
    video.parent.mkdir(parents=True, exist_ok=True)
    if truth.exists():  # left by a run that ended between the two renames
        shutil.rmtree(truth)
    partial.rename(truth)
    (work / "video.mp4").rename(video)
    shutil.rmtree(work)


def write_video(images: Iterable[np.ndarray], path: Path, rate: Fraction, width: int, height: int) -> None:
    """Encode uint8 RGB images (height, width, 3) as H.264 in MP4; frame i is shown at i / rate seconds."""
    options = {"crf": "19", "preset": "veryfast", "bf": "0", "g": "12", "threads": "1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = 1 / rate
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_annotation(frame: RenderedFrame, folder: Path) -> None:
    depth = np.clip(np.round(frame.depth / DEPTH_UNIT), 0, 65535).astype(np.uint16)
    for kind, image in (("semantic", frame.semantic), ("instance", frame.instance), ("depth", depth)):
        Image.fromarray(image).save(folder / kind / f"{frame.record.frame_index:06d}.png", compress_level=2)


def _video(root: Path, split: str, case_id: str) -> Path:
    return root / split / "videos" / f"{case_id}.mp4"


def _claim(root: Path, settings: SyntheticSettings) -> None:
    """Make `root` the place of this corpus, or refuse."""
    info = describe(settings)
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; give the folder for the synthetic corpus")
    if (root / "dataset.json").is_file():
        _same(root, read_info(root), info)
        return
    if root.is_dir() and any(entry.name != _PARTIAL for entry in root.iterdir()):
        raise UserError(f"{root} is not empty and holds no synthetic corpus; give a new or empty folder")
    try:
        (root / _PARTIAL).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {root} cannot be made: {error.strerror}") from error
    partial = root / _PARTIAL / "dataset.json"
    partial.write_text(json.dumps(asdict(info), indent=1) + "\n", encoding="utf-8")
    partial.rename(root / "dataset.json")


def _same(root: Path, found: DatasetInfo, wanted: DatasetInfo) -> None:
    """Refuse a corpus of other settings, naming the first difference."""
    for key, value in wanted.settings.items():
        if found.settings.get(key) != value:
            raise UserError(
                f"{root} holds a synthetic corpus with {key}={found.settings.get(key)}, asked for {key}={value}; "
                "give another folder or the same settings"
            )
    for field in fields(DatasetInfo):
        if getattr(found, field.name) != getattr(wanted, field.name):
            raise UserError(
                f"{root} holds a synthetic corpus of another renderer version (its {field.name} differs); "
                "give another folder or delete it"
            )


def describe(settings: SyntheticSettings) -> DatasetInfo:
    """The content of `dataset.json` for a corpus of these settings."""
    plain = asdict(settings)
    del plain["workers"]  # does not change the output
    return DatasetInfo(
        schema_version=SCHEMA_VERSION,
        renderer_version=RENDERER_VERSION,
        seed=settings.seed,
        fps=settings.fps,
        width=settings.width,
        height=settings.height,
        annotation_fps=settings.annotation_fps,
        depth_unit=DEPTH_UNIT,
        procedures=tuple(PROCEDURES),
        phases=PHASES,
        instruments=INSTRUMENTS,
        verbs=VERBS,
        targets=TARGETS,
        triplets=TRIPLETS,
        classes=CLASSES,
        cases={split: tuple(settings.case_ids(split)) for split in SPLITS},
        settings=plain,
    )
