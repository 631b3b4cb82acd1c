"""GraSP, PSI-AVA, SAR-RARP50 and JIGSAWS with skill: robotic prostatectomy, and suturing on a bench."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.evaluation.datasets.layouts import write_table
from tests.evaluation.world.cases import CASES, cases_of
from tests.evaluation.world.pictures import Scene, save_images, save_video, timeline

PHASES = ("Idle", "Left dissection", "Right dissection")
STEPS = ("Idle", "Cut", "Suture", "Pull")
LENGTH = 8  # labels of a case
TRIAL_FRAMES = 48  # of JIGSAWS: 8 at 5 a second
GESTURE_FRAMES = 6  # native frames between the labels of SAR-RARP50


def write_grasp(root: Path) -> None:
    """The release of 30 frames a second, in which names of images count at two rates."""
    for side, cases in (("train", CASES["grasp"][0]), ("test", CASES["grasp"][2])):
        numbers = {
            case: range(0, 30 * LENGTH, 30) if case != "CASE003" else range(0, 45 * LENGTH, 45) for case in cases
        }
        _write_coco(root / "annotations" / f"grasp_long-term_{side}.json", numbers, "phases", "steps", 9)
        _write_frames(root / "frames", numbers, 9)


def write_psi_ava(root: Path) -> None:
    """Keyframes 35 s apart, in the folders of its repository."""
    for side, cases in (("train", CASES["psi_ava"][0]), ("val", CASES["psi_ava"][2])):
        numbers = {case: range(1, 35 * LENGTH, 35) for case in cases}
        folder = root / "data_annotations" / "psi-ava" / "fold1" / "coco_anns"
        _write_coco(folder / f"{side}_coco_anns_v3_35s.json", numbers, "phase", "step", 5)
        _write_frames(root / "PSIAVA" / "keyframes", numbers, 5)


def _labels(case: str) -> tuple[list[int], list[int]]:
    """Phase and step of each label of a case."""
    number = int(case[-3:])
    return timeline(range(len(PHASES)), LENGTH, number), timeline(range(len(STEPS)), LENGTH, number + 1)


def _write_coco(path: Path, numbers: Mapping[str, Sequence[int]], phase: str, step: str, digits: int) -> None:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for case, frames in numbers.items():
        for frame, own_phase, own_step in zip(frames, *_labels(case), strict=True):
            images.append({"id": 1 + len(images), "file_name": f"{case}/{frame:0{digits}d}.jpg"})
            row = {"image_id": len(images), "category_id": 1, "bbox": [1, 1, 9, 9], phase: own_phase, step: own_step}
            annotations += [{"id": len(annotations) + 1 + box, **row} for box in range(2)]
    content = {
        f"{phase}_categories": [{"id": index, "name": name} for index, name in enumerate(PHASES)],
        f"{step}_categories": [{"id": index, "name": name} for index, name in enumerate(STEPS)],
        "images": images,
        "annotations": annotations,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_frames(folder: Path, numbers: Mapping[str, Sequence[int]], digits: int) -> None:
    for case, frames in numbers.items():
        rows = zip(frames, *_labels(case), strict=True)
        save_images(folder / case, [(f"{frame:0{digits}d}.jpg", Scene(phase, (step,))) for frame, phase, step in rows])


def write_sar_rarp50(root: Path) -> None:
    """Videos for testing, images for training; case 11 comes in two parts."""
    for number, case in enumerate(cases_of("sar_rarp50")):
        test = case in CASES["sar_rarp50"][2]
        for part in ("_1", "_2") if case == "video_11" else ("",):
            folder = root / ("test" if test else "train1") / (case + part)
            gestures = timeline((0, 1, 3, 4), 12, number + (part == "_2"))
            rows = [(GESTURE_FRAMES * place, gesture) for place, gesture in enumerate(gestures)]
            write_table(folder / "action_discrete.txt", [], rows, ",")
            scenes = [Scene(gesture) for gesture in gestures]
            if test:
                save_video(folder / "video_left.avi", scenes, 60, GESTURE_FRAMES)
            else:
                save_images(
                    folder / "rgb", [(f"{row[0]:09d}.png", each) for row, each in zip(rows, scenes, strict=True)]
                )


def write_jigsaws(root: Path) -> None:
    """Two trials of each user, three of the one that is tested: gestures as colors, the GRS as a bar."""
    home = root / "Suturing"
    lines = []
    for number, case in enumerate(cases_of("jigsaws")):
        for trial in range(1, 4 if case == "Suturing_B" else 3):
            name = f"{case}{trial:03d}"
            score = 6 + (7 * number + 10 * trial) % 25
            gestures = timeline((0, 2, 5), TRIAL_FRAMES // 6, number + trial)
            scenes = [Scene(gesture, values=((score - 6) / 24,)) for gesture in gestures]
            video = save_video(home / "video" / f"{name}_capture1.avi", scenes, 30, 6)
            shutil.copy(video, video.with_name(f"{name}_capture2.avi"))
            rows = [(6 * place + 1, 6 * place + 6, f"G{gesture + 1}") for place, gesture in enumerate(gestures)]
            write_table(home / "transcriptions" / f"{name}.txt", [], rows, " ")
            lines.append(f"{name}\t\tN\t{score}\t\t2\t3\t2\t2\t3\t3")
    (home / "meta_file_Suturing.txt").write_text("\n".join([*lines, "", ""]))
