"""M2CAI16-workflow: 41 videos of laparoscopic cholecystectomy with surgical phases.

The folder::

    ROOT/
        train_dataset/workflow_video_01.mp4 ... 27         25 fps
        train_dataset/workflow_video_01.txt                Frame<TAB>Phase, a row for every native frame from 0, by name
        train_dataset/workflow_video_01_timestamp.txt      not read
        test_dataset/test_workflow_video_01.mp4 ... 14     and .txt, the same
        frames/workflow_video_01/...                       instead of videos: extracted frames, see `open_images`

Quirks: the phases are those of Cholec80 after TrocarPlacement, under the same names. The files of the test side were
handed out apart from the others: the reader only asks for those of the split.

Sides: the official folders; there is no validation side.

Source: Twinanda et al., M2CAI 2016 workflow challenge; layout as read by public loaders and YuemingJin/TMRNet. Neither
layout nor the licence (understood as CC BY-NC-SA 4.0) was checked against the release.
"""

from pathlib import Path

from evaluation.datasets import cholec80
from evaluation.datasets.dataset import find_below
from evaluation.datasets.label_tables import read_phases
from evaluation.datasets.recordings import VIDEO_SUFFIX, by_case, label_file, labeled_video, open_recording
from evaluation.datasets.workflow import (
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    Split,
    Track,
    WorkflowDataset,
    WorkflowReader,
)

NAME = "m2cai16_workflow"
NATIVE_FPS = 25.0
PHASES = ("TrocarPlacement", *cholec80.PHASES)
TRACKS = (Track("phase", PHASES),)

_CASE = r"((?:test_)?workflow_video_\d+)"


def find(root: Path) -> Path | None:
    """The M2CAI16-workflow folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "M2CAI16-workflow", lambda folder: any(folder.glob("train_dataset/workflow_video_*.txt")))


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a case without label file or recording, two files for one case, a row that is not understood, or
            labels that do not fit their video.
    """
    sides = (root / "train_dataset", root / "test_dataset")
    tables, videos = (by_case(NAME, sides, _CASE + suffix, _case) for suffix in (r"\.txt", VIDEO_SUFFIX))
    folders = by_case(NAME, root / "frames", _CASE, _case)

    def read(case: str, side: Side) -> LabeledVideo:
        home = sides[case.startswith("test_")]
        file = label_file(NAME, case, tables, home / f"{case}.txt")
        frames, phase = read_phases(NAME, file, {name: number for number, name in enumerate(PHASES)})
        expected = home / f"{case}.mp4"
        recording = open_recording(NAME, case, videos, folders, expected, NATIVE_FPS, int(frames[-1]) + 1)
        return labeled_video(NAME, case, side, recording, file, frames, {"phase": phase}, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _case(name: str) -> str:
    prefix, number = name.lower().rsplit("_", 1)
    return f"{prefix}_{int(number):02d}"


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0 (not verified)",
        obtain="http://camma.u-strasbg.fr/m2cai2016 (request form)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)
