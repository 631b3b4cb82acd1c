"""Defects with known truth in rendered cases: what the filters of curation are measured on.

The renderer brings out-of-body, black and frozen spans of its own. Added here: white frames, blurred ones, screens that
show no surgery, a span shown twice, a short view before the first screen, a cut to another operation, and an interface
laid over the picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from modeling_zen.video_decoding_zen import open_video
from training.corpus.synthetic.records import FieldOfView, FrameRecord, SyntheticCase, SyntheticDataset
from training.corpus.synthetic.writer import write_video

WHITE_SECONDS, BLUR_SECONDS, SCREEN_SECONDS, REPEAT_SECONDS = 2.0, 3.0, 3.0, 3.0
LEAD_SECONDS = 1.0  # of tissue before a screen at the beginning; too short to be the operation
BLUR = 0.04  # standard deviation as share of the width: instruments are still guessed, their edges are gone


@dataclass(frozen=True)
class SpoiledCase:
    """One spoiled video and all that is known of it.

    Attributes:
        case_id: as of the rendered case.
        video: the file.
        truth: per frame the name of the filter that ought to drop it, "" for a good one.
        cut: number of the first frame of another operation, `None` without one.
        overlay: bool (height, width), where the interface covers the picture; `None` without one.
        fov: circle of the endoscope in pixels.
    """

    case_id: str
    video: Path
    truth: tuple[str, ...]
    cut: int | None
    overlay: np.ndarray | None
    fov: FieldOfView


def spoil(dataset: SyntheticDataset, folder: Path, seed: int = 0) -> list[SpoiledCase]:
    """Write a spoiled copy of every case into `folder`; every second one has an interface, every third one a cut."""
    cases = list(dataset.cases)
    folder.mkdir(parents=True, exist_ok=True)
    spoiled = []
    for number, case in enumerate(cases):
        rng = np.random.default_rng([seed, number])
        other = cases[(number + 1) % len(cases)] if number % 3 == 0 and len(cases) > 1 else None
        spoiled.append(_spoil(case, other, dataset.info.fps, number % 2 == 0, folder, rng))
    return spoiled


def _spoil(
    case: SyntheticCase,
    other: SyntheticCase | None,
    fps: float,
    interface: bool,
    folder: Path,
    rng: np.random.Generator,
) -> SpoiledCase:
    frames = _read(case.video)
    truth = [_rendered_truth(record) for record in case.records]
    cut = None
    if other is not None:  # the rest shows another operation, at the same times
        cut = _start(truth, round(2 * fps), rng, first=len(truth) // 2)
    if other is not None and cut is not None:
        frames[cut:] = _read(other.video)[cut:]
        truth[cut:] = [_rendered_truth(record) for record in other.records[cut:]]
    clean = list(truth)  # where nothing was spoiled before this
    for name, seconds in (("white", WHITE_SECONDS), ("blur", BLUR_SECONDS), ("screen", SCREEN_SECONDS)):
        count = round(seconds * fps)
        start = _start(truth, count, rng)
        if start is not None and not (cut is not None and start <= cut < start + count):
            frames[start : start + count] = _defect(name, frames[start : start + count], rng)
            truth[start : start + count] = [name] * count
    _repeat(frames, truth, clean, cut, round(REPEAT_SECONDS * fps), rng)
    lead, shown = round(LEAD_SECONDS * fps), round(SCREEN_SECONDS * fps)
    if not any(truth[: lead + shown]):
        frames[lead : lead + shown] = _defect("screen", frames[lead : lead + shown], rng)
        truth[:lead] = ["trim"] * lead
        truth[lead : lead + shown] = ["screen"] * shown
    height, width = frames[0].shape[:2]
    overlay = None
    if interface:
        overlay, paint = _interface(height, width, rng)
        frames = [frame if what == "screen" else paint(frame) for frame, what in zip(frames, truth, strict=True)]
    video = folder / f"{case.case_id}.mp4"
    write_video(frames, video, Fraction(fps).limit_denominator(1001), width, height)
    return SpoiledCase(case.case_id, video, tuple(truth), cut, overlay, case.records[0].fov)


def _read(video: Path) -> list[np.ndarray]:
    with open_video(video) as reader:
        return [frame for chunk in reader for frame in chunk.pixels.numpy().copy()]


def _rendered_truth(record: FrameRecord) -> str:
    if record.visibility != "surgical":
        return record.visibility
    return "frozen" if record.frozen else ""


def _start(truth: list[str], count: int, rng: np.random.Generator, first: int = 0) -> int | None:
    """Where `count` good frames in a row begin, by chance; `None` if there are none from `first` on."""
    starts = [start for start in range(first, len(truth) - count + 1) if not any(truth[start : start + count])]
    return int(rng.choice(starts)) if starts else None


def _repeat(
    frames: list[np.ndarray], truth: list[str], clean: list[str], cut: int | None, count: int, rng: np.random.Generator
) -> None:
    """Show a span of good frames a second time, later and in the same operation."""
    begin = round(LEAD_SECONDS + SCREEN_SECONDS) * 2  # later than anything that stands at the beginning
    source = _start(truth, count, rng, first=min(begin, len(truth)))
    if source is None:
        return
    end = cut if cut is not None and source < cut else len(truth)
    target = _start(truth[:end], count, rng, first=source + count)
    if target is not None and not any(clean[source : source + count]):
        frames[target : target + count] = frames[source : source + count]
        truth[target : target + count] = ["duplicate"] * count


def _defect(name: str, frames: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    height, width = frames[0].shape[:2]
    if name == "white":
        pictures = [np.full_like(frame, 250) for frame in frames]
    elif name == "blur":
        pictures = [cv2.GaussianBlur(frame, (0, 0), BLUR * width) for frame in frames]
    else:
        screen = _screen(height, width, rng)
        pictures = [_with_pointer(screen, index) for index in range(len(frames))]
    # Sensor noise is never blurred; of a screen that is captured as a signal there is none.
    strength = 0.0 if name == "screen" else 2.0
    return [
        np.clip(picture + rng.normal(0, strength, picture.shape), 0, 255).astype(np.uint8) if strength else picture
        for picture in pictures
    ]


def _screen(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A title, a desktop or a test chart, uint8 (height, width, 3)."""
    kind = rng.integers(3)
    if kind == 0:
        screen = np.full((height, width, 3), rng.choice([16, 40, 235]), np.uint8)
        ink = (30, 30, 30) if screen[0, 0, 0] > 128 else (225, 225, 230)
        for line in range(4):
            _write(screen, "CASE REPORT 2031 laparoscopy"[: rng.integers(8, 28)], 0.2 + 0.17 * line, width, ink)
    elif kind == 1:
        screen = np.full((height, width, 3), (58, 110, 165), np.uint8)
        for _ in range(4):
            x, y = (int(rng.uniform(0, 0.6) * side) for side in (width, height))
            corner = (x + int(rng.uniform(0.2, 0.5) * width), y + int(rng.uniform(0.2, 0.4) * height))
            cv2.rectangle(screen, (x, y), corner, (240, 240, 240), -1)
            cv2.rectangle(screen, (x, y), (corner[0], y + height // 20), (20, 60, 120), -1)
        _write(screen, "File  Edit  View", 0.06, width, (255, 255, 255))
    else:
        colors = np.array([(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0)])
        screen = np.repeat(colors[np.arange(width) * len(colors) // width][None], height, 0).astype(np.uint8)
    return screen


def _write(picture: np.ndarray, text: str, top: float, width: int, color: tuple[int, int, int]) -> None:
    place = (width // 16, int(top * picture.shape[0]))
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, width / 640, color, 1, cv2.LINE_AA)


def _with_pointer(screen: np.ndarray, index: int) -> np.ndarray:
    """The screen with a pointer that moves, so that it does not stand still."""
    picture = screen.copy()
    x, y = (
        int((0.5 + 0.4 * np.sin(index / rate)) * side) for rate, side in ((3, screen.shape[1]), (5, screen.shape[0]))
    )
    cv2.circle(picture, (x, y), screen.shape[0] // 16, (250, 250, 90), -1)
    return picture


def _interface(
    height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Where a bar with lettering and a logo lie, bool (height, width), and a function that lays them over a frame."""
    bar = (slice(height - height // 10, height), slice(0, width))
    side = height // 7
    logo = (slice(4, 4 + side), slice(width - side - 4, width - 4))
    layer = np.zeros((height, width, 3), np.uint8)
    layer[bar] = (24, 24, 28)
    layer[logo] = rng.integers(60, 200, 3, dtype=np.uint8)
    center = ((logo[1].start + logo[1].stop) // 2, (logo[0].start + logo[0].stop) // 2)
    cv2.circle(layer, center, side // 3, (240, 240, 240), 2, cv2.LINE_AA)
    _write(layer, f"ID {rng.integers(10**7)}  FLOW 12  P 14 mmHg", 0.97, width, (235, 235, 235))
    covered = np.zeros((height, width), bool)
    covered[bar] = covered[logo] = True
    return covered, lambda frame: np.where(covered[..., None], layer, frame)
