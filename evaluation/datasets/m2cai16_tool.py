"""M2CAI16-tool: 15 videos of laparoscopic cholecystectomy with tools, all of them also in Cholec80.

The folder::

    ROOT/
        train_dataset/tool_video_01.mp4 ... 10       25 fps
        train_dataset/tool_video_01.txt              Frame<TAB>Grasper<TAB>..., every 25th frame from 0, 0 or 1
        test_dataset/tool_video_11.mp4 ... 15        and .txt, the same
        frames/tool_video_01/...                     instead of videos: extracted frames, see `open_images`

Quirks: videos 1-10 are Cholec80 67-76, videos 11-15 are Cholec80 61, 62, 64, 65 and 66, so a model that saw the one
side of either dataset must not be scored on the other. Columns go by name. Test files named `test_tool_video_11` are
understood too.

Sides: the official folders; there is no validation side.

Source: Twinanda et al., M2CAI 2016 tool challenge, CC BY-NC-SA 4.0; layout of its README, not checked against videos.
"""

from pathlib import Path

from evaluation.datasets.cholec80 import TOOLS
from evaluation.datasets.dataset import find_below
from evaluation.datasets.label_tables import read_flags
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

NAME = "m2cai16_tool"
NATIVE_FPS = 25.0
LAST_TRAIN = 10  # number of the last video in train_dataset
TRACKS = (Track("tool", TOOLS, several=True),)

_CASE = r"(?:test_)?tool_video_(\d+)"


def find(root: Path) -> Path | None:
    """The M2CAI16-tool folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "M2CAI16-tool", lambda folder: any(folder.glob("train_dataset/tool_video_*.txt")))


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
        home = sides[int(case[-2:]) > LAST_TRAIN]
        file = label_file(NAME, case, tables, home / f"{case}.txt")
        frames, tool = read_flags(NAME, file, TOOLS)
        expected = home / f"{case}.mp4"
        recording = open_recording(NAME, case, videos, folders, expected, NATIVE_FPS, int(frames[-1]) + 1)
        return labeled_video(NAME, case, side, recording, file, frames, {"tool": tool}, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _case(number: str) -> str:
    return f"tool_video_{int(number):02d}"


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="http://camma.u-strasbg.fr/m2cai2016 (request form)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)
