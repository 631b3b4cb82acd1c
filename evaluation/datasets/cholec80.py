"""Cholec80: 80 videos of laparoscopic cholecystectomy with surgical phases and tools.

The folder::

    ROOT/
        videos/video01.mp4 ... video80.mp4            25 fps; video01-timestamp.txt beside them is not read
        phase_annotations/video01-phase.txt           Frame<TAB>Phase, a row for every native frame from 0, by name
        tool_annotations/video01-tool.txt             Frame<TAB>Grasper<TAB>..., a row for every 25th frame, 0 or 1
        frames/video01/...                            instead of videos: extracted frames, see `open_images`

Quirks: phases go by name, as id orders differ between sources (the one here is that of the field's loaders). Tools are
`UNLABELED` on frames between their rows; the last 25th frame can lack a tool row and then is so too. Preparation and
CleaningCoagulation do not occur in every video. Extracted frames have no standard name: `open_images` says what is
understood.

Sides: `40_8_32` (default) and `40_40` by number of video; scores on them cannot be compared.

Source: Twinanda et al., EndoNet (IEEE TMI 2017), CC BY-NC-SA 4.0; layout as read by CAMMA-public/TF-Cholec80,
YuemingJin/TMRNet and isyangshu/Surgformer. It was not checked against the videos themselves.
"""

from pathlib import Path

from evaluation.datasets.dataset import find_below
from evaluation.datasets.label_tables import lay_on, read_flags, read_phases
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

NAME = "cholec80"
NATIVE_FPS = 25.0
PHASES = (
    "Preparation",
    "CalotTriangleDissection",
    "ClippingCutting",
    "GallbladderDissection",
    "GallbladderPackaging",
    "CleaningCoagulation",
    "GallbladderRetraction",
)
TOOLS = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "SpecimenBag")
TRACKS = (Track("phase", PHASES), Track("tool", TOOLS, several=True))


def find(root: Path) -> Path | None:
    """The Cholec80 folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "Cholec80", _is_home)


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a case without label file or recording, two files for one case, a row that is not understood, or
            labels that do not fit their video.
    """
    phases = by_case(NAME, root / "phase_annotations", r"video0*(\d+)-phase\.txt", _case)
    tools = by_case(NAME, root / "tool_annotations", r"video0*(\d+)-tool\.txt", _case)
    videos = by_case(NAME, root / "videos", rf"video0*(\d+){VIDEO_SUFFIX}", _case)
    folders = by_case(NAME, root / "frames", r"video0*(\d+)", _case)

    def read(case: str, side: Side) -> LabeledVideo:
        phase_file = label_file(NAME, case, phases, root / "phase_annotations" / f"{case}-phase.txt")
        tool_file = label_file(NAME, case, tools, root / "tool_annotations" / f"{case}-tool.txt")
        frames, phase = read_phases(NAME, phase_file, {name: number for number, name in enumerate(PHASES)})
        labels = {"phase": phase, "tool": lay_on(NAME, tool_file, frames, *read_flags(NAME, tool_file, TOOLS))}
        expected = root / "videos" / f"{case}.mp4"
        recording = open_recording(NAME, case, videos, folders, expected, NATIVE_FPS, int(frames[-1]) + 1)
        return labeled_video(NAME, case, side, recording, phase_file, frames, labels, fps)

    read_videos = tuple(read(case, side) for case, side in split.cases)
    return WorkflowDataset(NAME, root, TRACKS, read_videos, split.name, split.source)


def _is_home(folder: Path) -> bool:
    # CATARACTS calls its folders alike.
    has_both = all((folder / name).is_dir() for name in ("phase_annotations", "tool_annotations"))
    return has_both and any((folder / "phase_annotations").glob("video*-phase.txt"))


def _case(number: str) -> str:
    return f"video{int(number):02d}"


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="http://camma.u-strasbg.fr/datasets (request form)",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)
