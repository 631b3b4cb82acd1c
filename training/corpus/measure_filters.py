"""Entry: `python -m training.corpus.measure_filters OUT [key=value ...]` measures the filters against known truth.

Renders cases, spoils them (see `synthetic/spoiling.py`), curates them with every frame filter switched on, and prints
as Markdown what each filter found: precision, recall, the overlap of masks and circles, and the cuts between scenes.
"""

import sys
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from training.config import load_config
from training.corpus.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.filters import FilterSettings
from training.corpus.manifest import DROPS_FILE, SHARD_FOLDER, Clip, read_drops
from training.corpus.masks import Masks
from training.corpus.settings import CurationSettings
from training.corpus.synthetic import SyntheticSettings, read_ground_truth, write_dataset
from training.corpus.synthetic.spoiling import SpoiledCase, spoil
from training.errors import UserError, run_entry

USAGE = "python -m training.corpus.measure_filters OUT [key=value ...]"
_SAME_TIME = 0.01  # seconds within which a dropped span and a sample mean the same time


@dataclass(frozen=True)
class MeasureSettings:
    """What is rendered, and how it is sampled."""

    cases: int = 12  # as many of each defect at most
    seconds: float = 40.0  # per case; room for all defects and as much clean video
    fps: float = 6.0  # of the rendered videos
    sampled_fps: float = 2.0  # samples per second; more frames per defect than the usual 1
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """What curation did with one case.

    Attributes:
        reasons: per sample, by native frame number, the reason of its drop; "" kept.
        starts: numbers of the first frames of all clips.
        clips: its rows of the manifest.
    """

    reasons: dict[int, str]
    starts: frozenset[int]
    clips: list[Clip]


def main() -> None:
    """Parse, render, spoil, curate, print."""
    words = sys.argv[1:]
    if words and words[0] in ("-h", "--help"):
        print(f"usage: {USAGE}\nkeys: {', '.join(field.name for field in fields(MeasureSettings))}")
        return
    if not words or "=" in words[0] or words[0].startswith("-"):
        raise UserError(f"the output folder is missing; usage: {USAGE}")
    settings = load_config(MeasureSettings, None, words[1:])
    cases = spoiled_cases(Path(words[0]), settings)
    found = curated(Path(words[0]), cases, settings)
    print("\n".join([*filter_table(cases, found), "", *picture_table(cases, found, Path(words[0]) / "corpus")]))


def spoiled_cases(out: Path, settings: MeasureSettings) -> list[SpoiledCase]:
    """Render below OUT/rendered what is not there yet, and write the spoiled copies to OUT/spoiled."""
    rendered = SyntheticSettings(
        cases_train=settings.cases,
        cases_test=0,
        seconds=settings.seconds,
        fps=settings.fps,
        out_of_body_cases=1.0,
        black_cases=1.0,
        frozen_cases=1.0,
        seed=settings.seed,
    )
    write_dataset(out / "rendered", rendered)
    return spoil(read_ground_truth(out / "rendered"), out / "spoiled", settings.seed)


def curated(out: Path, cases: list[SpoiledCase], settings: MeasureSettings) -> list[Found]:
    """Curate OUT/spoiled into OUT/corpus with every filter on, and read back what became of every sample."""
    switches = [f"filters.{field.name}.enabled=true" for field in fields(FilterSettings)]
    labels = ["deidentify=false", "held_out_fraction=0", "clip_frames=1000000", f"fps={settings.sampled_fps}"]
    curate([out / "spoiled"], out / "corpus", load_config(CurationSettings, None, [*switches, *labels]))
    corpus = Corpus.open(out / "corpus")
    drops = read_drops(out / "corpus" / DROPS_FILE)
    rows = pq.read_table(out / "corpus" / SHARD_FOLDER, columns=["clip_id", "frame_index"]).to_pylist()
    found = []
    for case in cases:
        clips = [clip for clip in corpus.clips("train") if clip.path == case.video.name]
        ids = {clip.clip_id for clip in clips}
        kept = [(row["clip_id"], row["frame_index"]) for row in rows if row["clip_id"] in ids]
        spans = [drop for drop in drops if drop.path == case.video.name and drop.t_start is not None]
        reasons = {number: "" for _, number in kept}
        for number in range(len(case.truth)):
            time = number / settings.fps
            sampled = abs(time * settings.sampled_fps - round(time * settings.sampled_fps)) < _SAME_TIME
            reason = next(
                (d.reason for d in spans if (d.t_start or 0) - _SAME_TIME <= time <= (d.t_end or 0) + _SAME_TIME), ""
            )
            if number not in reasons and sampled:
                reasons[number] = reason or "lost"
        starts = frozenset(min(number for clip, number in kept if clip == one) for one in ids)
        found.append(Found(reasons, starts, clips))
    return found


def filter_table(cases: list[SpoiledCase], found: list[Found]) -> list[str]:
    """One line per filter. Of what it dropped, the share that is as its name says, and the share that is any defect."""
    pairs = Counter(
        (case.truth[number], reason)
        for case, each in zip(cases, found, strict=True)
        for number, reason in each.reasons.items()
    )
    lines = [
        "| filter | frames with the defect | dropped by it | precision | of any defect | recall | by any filter |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    names = [field.name for field in fields(FilterSettings)]
    for name in sorted({truth for truth, _ in pairs} - {""}, key=lambda name: (name not in names, name)):
        wanted = sum(count for (truth, _), count in pairs.items() if truth == name)
        dropped = sum(count for (_, reason), count in pairs.items() if reason == name)
        rightly, any_defect = pairs[name, name], dropped - pairs["", name]
        cells = [_share(rightly, dropped), _share(any_defect, dropped), _share(rightly, wanted)]
        lines.append(
            f"| {name} | {wanted} | {dropped} | {' | '.join(cells)} | {_share(wanted - pairs[name, ''], wanted)} |"
        )
    good = sum(count for (truth, _), count in pairs.items() if not truth)
    wrongly = {reason: count for (truth, reason), count in sorted(pairs.items()) if not truth and reason}
    listed = ", ".join(f"{reason} {count}" for reason, count in wrongly.items()) or "none"
    return [*lines, "", f"Good frames: {good}, of them dropped: {sum(wrongly.values())} ({listed})."]


def picture_table(cases: list[SpoiledCase], found: list[Found], corpus: Path) -> list[str]:
    """Overlap (intersection over union) of overlay masks and circles with the truth, and the cuts found."""
    masks = Masks.open(corpus)
    overlays, circles, false_masks, cuts, cuts_found = [], [], 0, 0, 0
    for case, each in zip(cases, found, strict=True):
        clip = each.clips[0]
        inside = _stored(_disc(case), clip)
        marked = np.zeros_like(inside) if not clip.mask else ~masks.get(clip.mask) & inside
        if case.overlay is not None:
            overlays.append(_overlap(marked, _stored(case.overlay, clip) & inside))
        else:
            false_masks += bool(marked.mean() > 0.01)
        if clip.fov_radius is not None:
            rows, columns = np.mgrid[: clip.height, : clip.width]
            circle = np.hypot(columns - clip.fov_cx, rows - clip.fov_cy) <= clip.fov_radius
            circles.append(_overlap(circle, inside))
        if case.cut is not None:
            first = min((number for number in each.reasons if number >= case.cut), default=None)
            cuts += 1
            cuts_found += first in each.starts
    return [
        "| of the picture | cases | result |",
        "|---|---:|---|",
        f"| overlay mask, IoU inside the circle | {len(overlays)} | {_spread(overlays)} |",
        f"| overlay marked where there is none (over 1 %) | {len(cases) - len(overlays)} | {false_masks} |",
        f"| circle of the field of view, IoU | {len(circles)} of {len(cases)} found | {_spread(circles)} |",
        f"| cut to another operation starts a clip | {cuts} | {cuts_found} |",
    ]


def _disc(case: SpoiledCase) -> np.ndarray:
    """The true circle, bool (height, width) of the source; the size is that of the video."""
    capture = cv2.VideoCapture(str(case.video))
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(columns - case.fov.cx, rows - case.fov.cy) <= case.fov.radius


def _stored(mask: np.ndarray, clip: Clip) -> np.ndarray:
    """A mask of the source frame as it lies in the stored one."""
    part = mask[clip.crop_top : clip.crop_bottom, clip.crop_left : clip.crop_right].astype(np.uint8)
    return cv2.resize(part, (clip.width, clip.height), interpolation=cv2.INTER_NEAREST).astype(bool)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def _spread(values: list[float]) -> str:
    return f"median {np.median(values):.2f}, worst {min(values):.2f}" if values else "-"


if __name__ == "__main__":
    run_entry(main)
