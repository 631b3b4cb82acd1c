"""MultiBypass140: 140 videos of laparoscopic gastric bypass from Bern and Strasbourg, with phases and steps.

The folder, a clone of CAMMA-public/MultiBypass140 with the videos unpacked in it::

    ROOT/
        labels/bern/
            labels_by70_splits/labels/               official folds at 1 fps:
                train/1fps_100_0.pickle ...          {VIDEO: [{"Frame_id": "BBP03_00000005", "Original_frame_id": 4,
                val/1fps_0.pickle ...                          "Phase_gt": 0, "Step_gt": 2}, ...]}
                test/1fps_0.pickle ...
            labels_by70/BBP01.mp4.json               {"phases": [{"start", "end", "label_name"}], "steps": ...}, ms
        labels/strasbourg/...                        the same, SBP01 ...
        datasets/MultiBypass140/BernBypass70/        also right in ROOT, in ROOT/datasets or in ROOT/MultiBypass140
            videos/BBP01.mp4
            frames/BBP01/BBP01_00000001.jpg          instead of videos: `ffmpeg -vf fps=1`, from 1; img1.jpg too
        datasets/MultiBypass140/StrasBypass70/...    the same

Which labels are read: the pickles up to 1 frame per second, the JSON above and where no pickle has a case. Frames with
a phase are labeled, others are left out. Out-of-body time is no class: the pickles leave it out before the first and
after the last phase and keep the label of the phase within; reading only the phases of the JSON does the same.
`severe_index` is no class either. Pickles may hold containers, text and numbers, nothing else.

Quirks: second t of a pickle is image t + 1, which ffmpeg takes from the last frame before t + 0.5 s; where a video is
read, that very frame is taken. Its label is what the JSON says at t + 1 s, so images with JSON labels are labeled so
(on the 66 videos of which both are public, 355,953 of 355,954 common rows then agree in phase and step; 8 rows are in
the pickles only, 82 in the JSON only). Videos with JSON labels go by the clock.

Sides: the official folds are defined by the pickles: `fold_split` reads any of them. Shipped are those of Bern that are
public in full (file index 1-4) and, between the centres, all of one against the other.

Source: Lavanchy et al. (IJCARS 2024), CC BY-NC-SA 4.0. It was not checked against the videos themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.datasets.dataset import find_below, read_json, require_paths
from evaluation.datasets.recordings import (
    SPARE_ROWS,
    VIDEO_SUFFIX,
    Recording,
    by_case,
    images_by_number,
    labeled_video,
    open_video,
)
from evaluation.datasets.restricted_pickle import read_pickle
from evaluation.datasets.workflow import (
    SIDES,
    UNLABELED,
    WORKFLOW_DATASETS,
    LabeledVideo,
    Side,
    Split,
    Track,
    WorkflowDataset,
    WorkflowReader,
    at_rate,
)
from training.errors import UserError

NAME = "multibypass140"
CENTRES = {"bern": ("BBP", "BernBypass70"), "strasbourg": ("SBP", "StrasBypass70")}  # first letters of cases, folder
FOLDS = 5
PHASES = (
    "preparation",
    "gastric_pouch_creation",
    "omentum_division",
    "gastrojejunal_anastomosis",
    "anastomosis_test",
    "jejunal_separation",
    "closure_petersen_space",
    "jejunojejunal_anastomosis",
    "closure_mesenteric_defect",
    "cleaning_coagulation",
    "disassembling",
    "other_intervention",
)
NO_PHASES = frozenset({"out_of_body", "severe_index"})  # laid over the phases in the JSON
STEPS = (
    "null_step",
    "cavity_exploration",
    "trocar_placement",
    "retractor_placement",
    "crura_dissection",
    "his_angle_dissection",
    "horizontal_stapling",
    "retrogastric_dissection",
    "vertical_stapling",
    "gastric_remnant_reinforcement",
    "gastric_pouch_reinforcement",
    "gastric_opening",
    "omental_lifting",
    "omental_section",
    "adhesiolysis",
    "treitz_angle_identification",
    "biliary_limb_measurement",
    "jejunum_opening",
    "gastrojejunal_stapling",
    "gastrojejunal_defect_closing",
    "mesenteric_opening",
    "jejunal_section",
    "gastric_tube_placement",
    "jejunal_clamping",
    "ink_injection",
    "visual_assessment",
    "gastrojejunal_anastomosis_reinforcement",
    "petersen_space_exposure",
    "petersen_space_closing",
    "biliary_limb_opening",
    "alimentary_limb_measurement",
    "alimentary_limb_opening",
    "jejunojejunal_stapling",
    "jejunojejunal_defect_closing",
    "jejunojejunal_anastomosis_reinforcement",
    "staple_line_reinforcement",
    "mesenteric_defect_exposure",
    "mesenteric_defect_closing",
    "anastomosis_fixation",
    "coagulation",
    "irrigation_aspiration",
    "parietal_closure",
    "trocar_removal",
    "calibration",
    "drainage_insertion",
    "specimen_retrieval",
)
TRACKS = (Track("phase", PHASES), Track("step", STEPS))
SPARE_SECONDS = 1.0  # by which labels may reach behind a recording: one row of the official labels

_IDS = {
    "phases": {name: number for number, name in enumerate(PHASES)},
    "steps": {f"s{number}_{name}": number for number, name in enumerate(STEPS)},
}


def find(root: Path) -> Path | None:
    """The MultiBypass140 folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "MultiBypass140", _is_home)


def scan(root: Path, split: Split, fps: float) -> WorkflowDataset:
    """Read labels and headers of videos.

    Raises:
        UserError: a case of no centre, without labels or without recording, two files for one case, a row or entry that
            is not understood, or labels that do not fit their recording.
    """
    videos = []
    for centre, (letters, _) in CENTRES.items():
        cases = [(case, side) for case, side in split.cases if case.startswith(letters)]
        videos += _scan_centre(root, centre, cases, fps) if cases else []
    strange = [
        case for case, _ in split.cases if not case.startswith(tuple(letters for letters, _ in CENTRES.values()))
    ]
    if strange:
        raise UserError(
            f"{NAME}: case {strange[0]!r} of split {split.name!r} is of no centre; known are BBP01, SBP01 ..."
        )
    return WorkflowDataset(NAME, root, TRACKS, tuple(videos), split.name, split.source)


def fold_split(root: Path, fold: int, centres: Sequence[str] = tuple(CENTRES)) -> Split:
    """An official fold, as its pickles define it.

    Args:
        root: of the dataset.
        fold: 0 to 4, as the files are numbered.
        centres: "bern", "strasbourg" or both.

    Raises:
        UserError: a file of the fold is missing or broken.
    """
    sides: dict[str, list[str]] = {side: [] for side in SIDES}
    for centre in centres:
        for side in SIDES:
            sides[side] += sorted(_read_official(_official_file(root, centre, side, fold)))
    name = f"{'_and_'.join(centres)}_fold{fold}"
    return Split(name, f"official fold {fold} of {' and '.join(centres)}", *(tuple(sides[side]) for side in SIDES))


def _is_home(folder: Path) -> bool:
    labels = [folder / "labels" / centre for centre in CENTRES]
    return any((place / name).is_dir() for place in labels for name in ("labels_by70", "labels_by70_splits"))


def _case(name: str) -> str:
    return f"{name[:3].upper()}{int(name[3:]):02d}"


def _official_file(root: Path, centre: str, side: str, fold: int) -> Path:
    name = f"1fps_100_{fold}.pickle" if side == "train" else f"1fps_{fold}.pickle"
    return root / "labels" / centre / "labels_by70_splits" / "labels" / side / name


def _scan_centre(root: Path, centre: str, cases: Sequence[tuple[str, Side]], fps: float) -> list[LabeledVideo]:
    letters, folder = CENTRES[centre]
    case = rf"({letters}\d+)"
    labels = root / "labels" / centre
    places = [root / part / folder for part in ("datasets/MultiBypass140", "datasets", "MultiBypass140", "")]
    videos = by_case(NAME, _first([place / "videos" for place in places]), case + VIDEO_SUFFIX, _case)
    # Links to the one frames folder are part of the instructions, so the same images can be found in two places.
    frames = [place / "frames" for place in places] + [labels / "labels_by70_splits" / "frames"]
    folders = by_case(NAME, _first(frames), case, _case)
    segments = by_case(NAME, labels / "labels_by70", case + r"(?:\.mp4)?\.json", _case)
    wanted = [name for name, _ in cases if fps <= 1 or name not in segments]
    official = _find_official(root, centre, wanted)
    read = []
    for name, side in cases:
        if name not in videos and name not in folders:
            raise UserError(
                f"{NAME}: case {name!r} of the split has neither a video such as "
                f"{str(places[0] / 'videos' / f'{name}.mp4')!r} nor a folder of frames"
            )
        recording = open_video(NAME, videos[name], None) if name in videos else _open_frames(folders[name])
        if name in official:
            read.append(_lay_official(name, side, recording, *official[name], fps))
        elif name in segments:
            read.append(_lay_segments(name, side, recording, segments[name], fps))
        else:
            raise UserError(
                f"{NAME}: case {name!r} of the split is in no pickle below {str(labels / 'labels_by70_splits')!r} and "
                f"has no {str(labels / 'labels_by70' / f'{name}.mp4.json')!r}"
            )
    return read


def _first(folders: Sequence[Path]) -> Path:
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _open_frames(folder: Path) -> Recording:
    images = images_by_number(NAME, folder)
    if min(images) < 1:
        raise UserError(f"{NAME}: images of {str(folder)!r} count from {min(images)}, not from 1")
    return Recording(folder, 1.0, images={number - 1: path for number, path in images.items()})


def _find_official(root: Path, centre: str, cases: Iterable[str]) -> dict[str, tuple[Path, list[dict[str, Any]]]]:
    """File and rows of each case that the pickles have; each fold has all cases, so a few files are enough."""
    left = set(cases)
    found = {}
    for fold in range(FOLDS):
        for side in SIDES:
            file = _official_file(root, centre, side, fold)
            if left and file.is_file():
                found.update({case: (file, rows) for case, rows in _read_official(file).items() if case in left})
                left -= found.keys()
    return found


def _read_official(file: Path) -> dict[str, list[dict[str, Any]]]:
    content = read_pickle(NAME, file)
    if not isinstance(content, dict) or not all(isinstance(rows, list) and rows for rows in content.values()):
        raise UserError(f"{NAME}: {str(file)!r} is no dictionary of video -> rows")
    return content


def _official_labels(
    file: Path, case: str, rows: Sequence[Mapping[str, Any]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Seconds, ascending, with their labels."""
    for number, row in enumerate(rows, start=1):
        where = f"row {number} of {case} in {str(file)!r}"
        try:
            image, second, phase, step = (row[key] for key in ("Frame_id", "Original_frame_id", "Phase_gt", "Step_gt"))
        except (KeyError, TypeError) as error:
            raise UserError(f"{NAME}: {where} lacks Frame_id, Original_frame_id, Phase_gt or Step_gt") from error
        if not isinstance(second, int) or image != f"{case}_{second + 1:08d}":
            raise UserError(
                f"{NAME}: {where} has Original_frame_id {second!r}, which is not that of Frame_id {image!r}"
            )
        for name, label, classes in (("Phase_gt", phase, PHASES), ("Step_gt", step, STEPS)):
            if not isinstance(label, int) or not 0 <= label < len(classes):
                raise UserError(f"{NAME}: {where} has {name} {label!r}; known are 0 to {len(classes) - 1}")
    rows = sorted(rows, key=lambda row: row["Original_frame_id"])
    seconds, phases, steps = (
        np.array([row[key] for row in rows], dtype=np.int64) for key in ("Original_frame_id", "Phase_gt", "Step_gt")
    )
    return seconds, {"phase": phases, "step": steps}


def _lay_official(
    case: str, side: Side, recording: Recording, file: Path, rows: Sequence[Mapping[str, Any]], fps: float
) -> LabeledVideo:
    seconds, labels = _official_labels(file, case, rows)
    frames = seconds
    if recording.images:
        _check_images(recording, float(seconds[-1]), file)
        missing = [second for second in seconds.tolist() if second not in recording.images]
        if len(missing) > SPARE_ROWS:
            raise UserError(
                f"{NAME}: image {missing[0] + 1} of {str(recording.path)!r} is missing, it is labeled in {str(file)!r}"
            )
    else:
        frames = np.ceil((seconds + 0.5) * recording.fps).astype(np.int64) - 1  # what ffmpeg's fps=1 takes
    video = labeled_video(NAME, case, side, recording, file, frames, labels, recording.fps)
    ticks = at_rate(np.arange(seconds[-1] + 1), 1.0, fps)
    kept = np.flatnonzero(np.isin(video.frames, frames[np.isin(seconds, ticks)]))
    return replace(
        video,
        frames=video.frames[kept],
        labels={name: values[kept] for name, values in video.labels.items()},
        files=tuple(video.files[place] for place in kept) if video.files else (),
    )


def _lay_segments(case: str, side: Side, recording: Recording, file: Path, fps: float) -> LabeledVideo:
    segments = {track: _read_segments(file, track) for track in _IDS}
    end = max(stop for each in segments.values() for _, stop, _ in each) / 1000
    if recording.images:
        _check_images(recording, end, file)
        frames = np.fromiter(recording.images, np.int64)
        frames = frames[np.isin(frames, at_rate(np.arange(frames[-1] + 1), 1.0, fps))]
        times = (frames + 1) * 1000.0
    else:
        length = recording.length or int(end * recording.fps)
        if end > length / recording.fps + SPARE_SECONDS:
            raise UserError(
                f"{NAME}: labels of {str(file)!r} reach to {end:.1f} s, "
                f"but {str(recording.path)!r} ends at {length / recording.fps:.1f} s"
            )
        frames = at_rate(np.arange(length), recording.fps, fps)
        times = frames / recording.fps * 1000.0
    labels = {name: _labels_at(times, segments[track]) for name, track in (("phase", "phases"), ("step", "steps"))}
    shown = labels["phase"] != UNLABELED
    labels = {name: values[shown] for name, values in labels.items()}
    return labeled_video(NAME, case, side, recording, file, frames[shown], labels, recording.fps)


def _check_images(recording: Recording, end: float, file: Path) -> None:
    """Images at 1 fps reach to the end of the labels, and not to many times of it."""
    last = max(recording.images)
    if end > last + 1 + SPARE_SECONDS or last > 2 * end + 60:
        raise UserError(
            f"{NAME}: images of {str(recording.path)!r} are numbered up to {last + 1}, but labels of {str(file)!r} "
            f"reach to {end:.0f} s; one image a second is expected"
        )


def _read_segments(file: Path, track: str) -> list[tuple[float, float, int]]:
    """Start and end in ms and class id of each entry, by time."""
    require_paths(NAME, [file])
    entries = read_json(NAME, file).get(track)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{NAME}: {str(file)!r} has no list of {track!r}")
    segments = []
    for number, entry in enumerate(entries, start=1):
        where = f"entry {number} of {track!r} in {str(file)!r}"
        try:
            start, stop, name = float(entry["start"]), float(entry["end"]), entry["label_name"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{NAME}: {where} lacks label_name, or start and end in ms") from error
        if stop < start:
            raise UserError(f"{NAME}: {where} ends at {stop:.0f} ms, before its start at {start:.0f} ms")
        if track == "phases" and name in NO_PHASES:
            continue
        if name not in _IDS[track]:
            raise UserError(f"{NAME}: {where} has the unknown label {name!r}; known are {', '.join(_IDS[track])}")
        segments.append((start, stop, _IDS[track][name]))
    segments.sort()
    for one, other in pairwise(segments):
        if other[0] < one[1]:
            raise UserError(f"{NAME}: two {track} of {str(file)!r} overlap at {other[0]:.0f} ms")
    return segments


def _labels_at(times: np.ndarray, segments: Sequence[tuple[float, float, int]]) -> np.ndarray:
    """Class ids, int64 (N,), at times in ms; a segment holds its start and not its end."""
    labels = np.full(len(times), UNLABELED, dtype=np.int64)
    for start, stop, label in segments:
        labels[(times >= start) & (times < stop)] = label
    return labels


WORKFLOW_DATASETS.register(NAME)(
    WorkflowReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://github.com/CAMMA-public/MultiBypass140",
        tracks=tuple(track.name for track in TRACKS),
        find=find,
        scan=scan,
    )
)
