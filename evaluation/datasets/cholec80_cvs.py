"""Cholec80-CVS: the critical view of safety (CVS) on the videos of Cholec80, before the first clip is set.

The folder: that of Cholec80 (`cholec80.py`; tools are not needed) with the table of Cholec80-CVS put into it::

    ROOT/
        videos/video01.mp4 ... video80.mp4            25 fps
        phase_annotations/video01-phase.txt           Frame<TAB>Phase, a row for every native frame from 0, by name
        cholec80-CVS.xlsx                             also in annotations/ or data/, also as surgeons_annotations.xlsx
        frames/video01/...                            instead of videos: extracted frames, see `open_images`

Columns of the table, in its first sheet: video, initial_minute, initial_second, final_minute, final_second and the
points 0, 1 or 2 of two_structures, cystic_plate and hepatocystic_triangle; `Total` and `critical_view` are not read. A
row holds for all frames from its first to its last second; frames without a row have no points, and a later row with
points overrides.

Quirks, as in the scripts of the authors: frames from the first ClippingCutting on do not count, and rows that reach
behind it (63) are cut. Of what is left, the first 85 % (rounded down to whole seconds) are dropped, as they are nearly
all without points. Rows that end before they begin (3, of which videos 06 and 48 lose points) say nothing. A criterion
is met from one point on. The authors draw 5 frames of each second by chance; here it is every fifth frame, or those of
them that were extracted, where there are images instead of videos. C1 is two structures, C2 hepatocystic triangle, C3
cystic plate, in the order of Endoscapes and not of the table.

Sides: the split of the authors, 50/15/15 by video. It is not one of Cholec80: 12 test videos are in the train side of
`40_8_32`, so a model that was trained on that must not be scored here.

Source: Rios et al., Cholec80-CVS (Scientific Data 2023), annotations understood as CC BY 4.0, videos CC BY-NC-SA 4.0;
layout and rules from ManuelRios18/CHOLEC80-CVS-PUBLIC. The table itself was not checked.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

import numpy as np
from openpyxl import load_workbook

from evaluation.datasets import cholec80
from evaluation.datasets.dataset import FrameReference, find_below
from evaluation.datasets.endoscapes import CVS_NAMES
from evaluation.datasets.label_tables import read_phases
from evaluation.datasets.recordings import VIDEO_SUFFIX, Recording, by_case, label_file, open_recording
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.workflow import Side, Split, load_split
from evaluation.metrics.cvs_score import binary_from_points
from training.errors import UserError

NAME = "cholec80_cvs"
TARGET = Target("cvs", "multi", CVS_NAMES)
CRITERIA = ("two_structures", "hepatocystic_triangle", "cystic_plate")  # columns of the table for C1, C2, C3
FPS = 25  # native frames per second
LAST_PHASE = "ClippingCutting"  # from its first frame on nothing counts
DROPPED = 0.85  # share of the frames before that, from the start, that the authors drop
STRIDE = 5  # native frames between samples: the 5 per second of the authors

_TIMES = ("initial_minute", "initial_second", "final_minute", "final_second")
_TABLES = ("cholec80-cvs.xlsx", "surgeons_annotations.xlsx")  # in any case of letters
_FOLDERS = ("", "annotations", "data")


@dataclass(frozen=True)
class Segment:
    """Points of one row of the table, from native frame `first` to `last`, both included."""

    row: int
    first: int
    last: int
    points: tuple[int, int, int]


def find(root: Path) -> Path | None:
    """The Cholec80 folder that holds the table too, at `root` or up to two levels below; `None` if there is none."""
    return find_below(
        root, "Cholec80-CVS", lambda folder: (folder / "phase_annotations").is_dir() and bool(_tables(folder))
    )


def scan(root: Path, split: Split | None) -> SampleDataset:
    """Read the table, phases and headers of videos.

    Raises:
        UserError: no table or two, a row that is not understood or begins behind the first clip, a case without rows,
            phases or recording, two files for one case, or frames that the recording does not have.
    """
    split = split or load_split(NAME)
    tables = _tables(root)
    if len(tables) != 1:
        found = " and ".join(repr(str(table)) for table in tables) or "none"
        raise UserError(f"{NAME}: one table cholec80-CVS.xlsx is expected in {str(root)!r}, but found was {found}")
    segments = _read_segments(tables[0])
    phases = by_case(NAME, root / "phase_annotations", r"video0*(\d+)-phase\.txt", _case)
    videos = by_case(NAME, root / "videos", rf"video0*(\d+){VIDEO_SUFFIX}", _case)
    folders = by_case(NAME, root / "frames", r"video0*(\d+)", _case)

    def read(case: str, side: Side) -> list[LabeledSample]:
        if case not in segments:
            raise UserError(f"{NAME}: case {case!r} of the split has no row in {str(tables[0])!r}")
        file = label_file(NAME, case, phases, root / "phase_annotations" / f"{case}-phase.txt")
        frames, phase = read_phases(NAME, file, {name: number for number, name in enumerate(cholec80.PHASES)})
        clipping = frames[phase == cholec80.PHASES.index(LAST_PHASE)]
        if not len(clipping):
            raise UserError(f"{NAME}: {str(file)!r} has no phase {LAST_PHASE}, before which the CVS was rated")
        points = lay_points(tables[0], case, segments[case], int(clipping[0]))
        expected = root / "videos" / f"{case}.mp4"
        recording = open_recording(NAME, case, videos, folders, expected, FPS, int(frames[-1]) + 1)
        met = binary_from_points(points).astype(int).tolist()
        wanted = range(first_frame(len(points)), len(points), STRIDE)
        references = [(frame, _reference(recording, frame, file)) for frame in wanted]
        samples = [
            LabeledSample(case, side, (reference,), tuple(met[frame])) for frame, reference in references if reference
        ]
        if not samples:
            raise UserError(
                f"{NAME}: {str(recording.path)!r} has none of the frames {wanted.start} to {wanted.stop - 1}, "
                f"which count before the first {LAST_PHASE} of {case}"
            )
        return samples

    samples = tuple(sample for case, side in split.cases for sample in read(case, side))
    return SampleDataset(NAME, root, TARGET, samples, split.name, split.source)


def first_frame(count: int) -> int:
    """The first native frame that counts, of `count` before the first clip: a whole second at `DROPPED` of them."""
    return math.floor(count * DROPPED / FPS) * FPS


def lay_points(file: Path, case: str, segments: Sequence[Segment], count: int) -> np.ndarray:
    """Points of C1, C2, C3 on every native frame before the first clip, int64 (count, 3).

    Args:
        file: the table, for messages.
        case: for messages.
        segments: of the case, in order of the table.
        count: native frames before the first clip.

    Raises:
        UserError: a segment with points that begins behind them: table and phases are of different videos.
    """
    points = np.zeros((count, len(CRITERIA)), np.int64)
    for segment in segments:
        if not any(segment.points) or segment.last < segment.first:
            continue
        if segment.first > count:
            raise UserError(
                f"{NAME}: row {segment.row} of {str(file)!r} begins at frame {segment.first} of {case}, "
                f"but its first {LAST_PHASE} is at frame {count}"
            )
        points[segment.first : segment.last + 1] = segment.points
    return points


def _tables(folder: Path) -> list[Path]:
    places = [folder / name for name in _FOLDERS]
    return [path for place in places if place.is_dir() for path in sorted(place.iterdir()) if _is_table(path)]


def _is_table(path: Path) -> bool:
    return path.name.lower() in _TABLES


def _read_segments(file: Path) -> dict[str, list[Segment]]:
    """Rows of the table by case, in its order."""
    found: dict[str, list[Segment]] = {}
    for number, row in _rows(file):
        cells = {name: _whole(row[name]) for name in ("video", *_TIMES, *CRITERIA)}
        wrong = [name for name, value in cells.items() if value is None]
        if wrong:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has {wrong[0]} {row[wrong[0]]!r}, not a whole number"
            )
        video, *times = (cells[name] or 0 for name in ("video", *_TIMES))
        points = (cells[CRITERIA[0]] or 0, cells[CRITERIA[1]] or 0, cells[CRITERIA[2]] or 0)
        if max(points) > 2:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has {max(points)} points; a criterion has 0, 1 or 2"
            )
        first, last = FPS * (60 * times[0] + times[1]), FPS * (60 * times[2] + times[3])
        found.setdefault(_case(str(video)), []).append(Segment(number, first, last, points))
    return found


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Cells of each row of the first sheet by column, with its number as a spreadsheet shows it."""
    try:
        book = load_workbook(file, data_only=True)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, ParseError) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as a spreadsheet ({error})") from error
    rows = book.worksheets[0].iter_rows(values_only=True)
    header = [str(cell).strip() for cell in next(rows, ())]
    missing = [name for name in ("video", *_TIMES, *CRITERIA) if name not in header]
    if missing:
        raise UserError(f"{NAME}: {str(file)!r} has no column {missing[0]!r}; its columns are {', '.join(header)}")
    for number, cells in enumerate(rows, start=2):
        if any(cell is not None for cell in cells):
            yield number, dict(zip(header, cells, strict=True))


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer() or value < 0:
        return None
    return int(value)


def _reference(recording: Recording, frame: int, file: Path) -> FrameReference | None:
    """The frame in the video, or its image; `None` where images were extracted and this one was not."""
    if recording.images:
        image = recording.images.get(frame)
        return FrameReference(image) if image else None
    if recording.length is not None and frame >= recording.length:
        raise UserError(
            f"{NAME}: frame {frame}, before the first {LAST_PHASE} in {str(file)!r}, is behind the end of "
            f"{str(recording.path)!r}, which has {recording.length} frames"
        )
    return FrameReference(recording.path, frame)


def _case(number: str) -> str:
    return f"video{int(number):02d}"


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="annotations CC BY 4.0 (not verified), videos CC BY-NC-SA 4.0",
        obtain="annotations: https://doi.org/10.6084/m9.figshare.c.5880458 (download); videos: Cholec80 (request form)",
        target=TARGET,
        find=find,
        scan=scan,
    )
)
