import csv
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from openpyxl import Workbook

from evaluation.datasets import FrameReference, cholec80, cholec80_cvs
from evaluation.datasets.cholec80_cvs import Segment, first_frame, lay_points
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleDataset
from evaluation.datasets.workflow import load_split
from tests.evaluation.datasets.layouts import split, write_images, write_mp4, write_table
from training.errors import UserError

REALDATA = os.environ.get("ZEN_REALDATA", "")
HEADER = [
    "video",
    "initial_minute",
    "initial_second",
    "final_minute",
    "final_second",
    "two_structures",
    "cystic_plate",
    "hepatocystic_triangle",
    "Total",
    "critical_view",
]
CLIPPING = 210  # first frame of ClippingCutting: 85 % of 210 frames are 178.5, so that 175 on, whole seconds, count
ROWS = [
    [1, 0, 0, 0, 7, 1, 0, 0, 1, 0],  # until frame 175
    [1, 0, 7, 0, 8, 2, 0, 1, 3, 0],  # 175 to 200: overrides frame 175
    [1, 0, 8, 0, 8, 0, 0, 0, 0, 0],  # no points: does not override
    [2, 0, 9, 0, 8, 1, 1, 1, 3, 0],  # ends before it begins
    [2, 0, 8, 0, 59, 0, 2, 0, 2, 0],  # 200 on, far behind the first clip
]


def write_book(path: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    book = Workbook()
    for cells in [header, *rows]:
        book.active.append(list(cells))
    book.save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cholec80"
    phases = ["Preparation"] * 20 + ["CalotTriangleDissection"] * 190 + ["ClippingCutting"] * 10
    for case in ("video01", "video02"):
        write_mp4(root / "videos" / f"{case}.mp4", len(phases))
        write_table(root / "phase_annotations" / f"{case}-phase.txt", ["Frame", "Phase"], enumerate(phases))
    write_book(root / "cholec80-CVS.xlsx", ROWS)
    return root


def scan(root: Path) -> SampleDataset:
    return cholec80_cvs.scan(root, split(["video01"], ["video02"]))


def test_every_fifth_frame_of_the_last_part_before_the_first_clip(root: Path) -> None:
    samples = scan(root).samples
    assert [sample.frames[0].frame_index for sample in samples] == [175, 180, 185, 190, 195, 200, 205] * 2
    assert samples[0].frames == (FrameReference(root / "videos" / "video01.mp4", 175),)
    assert {(sample.case_id, sample.side) for sample in samples} == {("video01", "train"), ("video02", "test")}
    # C1 two structures, C2 hepatocystic triangle, C3 cystic plate: another order than in the table
    assert [sample.label for sample in samples[:7]] == [(1, 1, 0)] * 6 + [(0, 0, 0)]
    assert [sample.label for sample in samples[7:]] == [(0, 0, 0)] * 5 + [(0, 0, 1)] * 2


def test_points_on_every_frame() -> None:
    segments = [Segment(2, 0, 2, (1, 0, 0)), Segment(3, 2, 9, (0, 0, 2)), Segment(4, 3, 3, (0, 0, 0))]
    assert lay_points(Path("x"), "video01", segments, 4).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 2], [0, 0, 2]]


def test_images_instead_of_a_video(root: Path) -> None:
    (root / "videos" / "video02.mp4").unlink()
    write_images(root / "frames" / "video02", [f"{number:05d}.png" for number in range(9)])  # one a second
    samples = [sample for sample in scan(root).samples if sample.case_id == "video02"]
    assert [sample.frames[0].path.name for sample in samples] == ["00007.png", "00008.png"]
    assert [sample.label for sample in samples] == [(0, 0, 0), (0, 0, 1)]


@pytest.mark.parametrize("place", ["annotations/cholec80-CVS.xlsx", "data/surgeons_annotations.xlsx"])
def test_places_of_the_table(place: str, root: Path) -> None:
    (root / place).parent.mkdir()
    (root / "cholec80-CVS.xlsx").rename(root / place)
    assert cholec80_cvs.find(root.parent) == root
    assert len(scan(root).samples) == 14
    write_book(root / "cholec80-CVS.xlsx", ROWS)
    with pytest.raises(UserError, match=r"one table cholec80-CVS.xlsx is expected in '.*', but found was '.*' and '"):
        scan(root)


def test_found_and_registered(root: Path) -> None:
    assert cholec80_cvs.find(root) == root
    (root / "cholec80-CVS.xlsx").unlink()
    assert cholec80_cvs.find(root) is None
    with pytest.raises(UserError, match=r"one table cholec80-CVS.xlsx is expected in '.*', but found was none"):
        scan(root)
    assert SAMPLE_DATASETS.get("cholec80_cvs").scan is cholec80_cvs.scan


def test_shipped_split(root: Path) -> None:
    official = load_split("cholec80_cvs")
    assert [len(side) for side in (official.train, official.val, official.test)] == [50, 15, 15]
    assert len({case for case, _ in official.cases}) == 80
    assert (official.side_of("video05"), official.side_of("video70"), official.side_of("video80")) == (
        "test",
        "val",
        "train",
    )
    with pytest.raises(UserError, match=r"case 'video03' of the split has no row in '.*cholec80-CVS.xlsx'"):
        cholec80_cvs.scan(root, None)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, 0, 0, 0, 7, 3, 0, 0], r"row 2 of '.*cholec80-CVS.xlsx' has 3 points; a criterion has 0, 1 or 2"),
        ([1, 0, 0, 0, 7, None, 0, 0], r"row 2 of '.*' has two_structures None, not a whole number"),
        ([1, 0, 0, 0, 7.5, 1, 0, 0], r"row 2 of '.*' has final_second 7.5, not a whole number"),
        (["video01", 0, 0, 0, 7, 1, 0, 0], r"row 2 of '.*' has video 'video01', not a whole number"),
        ([1, 0, 9, 0, 10, 1, 0, 0], r"row 2 of '.*' begins at frame 225 of video01, but its first .* is at frame 210"),
    ],
)
def test_broken_rows(cells: list[object], message: str, root: Path) -> None:
    write_book(root / "cholec80-CVS.xlsx", [cells, *ROWS[1:]])
    with pytest.raises(UserError, match=message):
        scan(root)


def test_empty_rows_are_passed_over(root: Path) -> None:
    write_book(root / "cholec80-CVS.xlsx", [*ROWS[:2], [None] * 10, *ROWS[2:]])
    assert len(scan(root).samples) == 14


def test_broken_files(root: Path) -> None:
    table, phases = root / "cholec80-CVS.xlsx", root / "phase_annotations" / "video02-phase.txt"
    write_book(table, ROWS, [name.replace("cystic_plate", "plate") for name in HEADER])
    with pytest.raises(UserError, match=r"cholec80-CVS.xlsx' has no column 'cystic_plate'; its columns are video"):
        scan(root)
    table.write_bytes(b"no spreadsheet")
    with pytest.raises(UserError, match=r"cholec80-CVS.xlsx' cannot be read as a spreadsheet \(File is not a zip"):
        scan(root)
    with zipfile.ZipFile(table, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types")
    with pytest.raises(UserError, match=r"cholec80-CVS.xlsx' cannot be read as a spreadsheet"):
        scan(root)
    write_book(table, [], [])
    with pytest.raises(UserError, match=r"cholec80-CVS.xlsx' has no column 'video'"):
        scan(root)
    write_book(table, ROWS)
    write_table(phases, ["Frame", "Phase"], [(frame, "Preparation") for frame in range(220)])
    with pytest.raises(UserError, match=r"video02-phase.txt' has no phase ClippingCutting, before which the CVS was"):
        scan(root)
    phases.unlink()
    with pytest.raises(UserError, match=r"'video02' of the split has no label file such as '.*video02-phase.txt'"):
        scan(root)


def test_a_recording_that_does_not_fit(root: Path) -> None:
    video = root / "videos" / "video02.mp4"
    write_mp4(video, 190)
    with pytest.raises(UserError, match=r"frame 190, before the first .*, is behind the end of '.*', which has 190 f"):
        scan(root)
    write_mp4(video, 220, fps=30)
    with pytest.raises(UserError, match=r"video02.mp4' runs at 30 frames/s, its labels count 25"):
        scan(root)
    video.unlink()
    with pytest.raises(UserError, match=r"'video02' of the split has neither a video such as '.*video02.mp4' nor a"):
        scan(root)
    write_images(root / "frames" / "video02", ["000000.png", "000110.png", "000219.png"])
    with pytest.raises(UserError, match=r"video02' has none of the frames 175 to 209, which count before the first"):
        scan(root)


@pytest.mark.realdata
@pytest.mark.skipif(not REALDATA, reason="Cholec80-CVS: ZEN_REALDATA is not set")
def test_frames_that_count_are_as_many_as_published() -> None:
    """Last frames before the first clip of all 80 videos, as the authors ship them, and their folds."""
    source = Path(REALDATA) / "annotations" / "cholec80-cvs"
    with (source / "videos_frames_index.csv").open(newline="") as stream:
        counts = {row["video_name"]: int(row["final_frame"]) + 1 for row in csv.DictReader(stream)}
    starts = {case: first_frame(count) for case, count in counts.items()}
    assert sum(count - starts[case] for case, count in counts.items()) == 313_752  # as in an audit of the authors' code
    started_seconds = sum(len(range(starts[case], count, cholec80_cvs.FPS)) for case, count in counts.items())
    assert 5 * started_seconds == 62_760
    here = sum(len(range(starts[case], count, cholec80_cvs.STRIDE)) for case, count in counts.items())
    assert here == sum(int(np.ceil((count - starts[case]) / 5)) for case, count in counts.items())
    assert 62_760 - here < 5 * 80  # at most the rest of the last second of each video
    folds = json.loads((source / "folds.json").read_text())["folds"]
    cases = {case for case, _ in load_split("cholec80_cvs").cases}
    assert cases == set(counts) == {case for fold in folds for case in fold}
    # The same frame as the phases of Cholec80 themselves have it, at 1 fps, for the one video whose phases are there.
    with (source.parent / "peskavlp-phase-csv" / "cholec80" / "video01.csv").open(newline="") as stream:
        seconds = [int(row["path"].split("_")[1].removesuffix(".png")) for row in csv.DictReader(stream)]
    assert counts["video01"] <= 25 * len(seconds)
    assert cholec80.PHASES[2] == cholec80_cvs.LAST_PHASE
