"""AutoLaparo with both of its tasks, MultiBypass140 and LapGyn4: phases, steps, motions and actions in laparoscopy."""

import json
import pickle
from pathlib import Path

from evaluation.datasets import lapgyn4, multibypass140
from tests.evaluation.datasets.layouts import write_table
from tests.evaluation.world.cases import CASES, cases_of
from tests.evaluation.world.pictures import Scene, save_images, save_video, timeline

FPS = 25
SECONDS = 8
CLIP_FRAMES = 126  # of an AutoLaparo clip: as many as are read, and one more
LAPGYN4_CASES = (1, 3, 4, 9, 2, 5, 8)  # by our rule: four for training, one for validation, two for testing


def write_autolaparo(root: Path) -> None:
    """Task 1, phases: videos for testing, images for the others; the last phase is in all, as labels count from 1."""
    home = root / "Task 1 Surgical workflow recognition"
    for number, case in enumerate(cases_of("autolaparo")):
        phases = timeline((1, 2, 5, 7), SECONDS, number)
        write_table(home / "labels" / f"label_{case}.txt", ["Frame", "Phase"], enumerate(phases, 1))
        scenes = [Scene(phase) for phase in phases]
        if case in CASES["autolaparo"][2]:
            save_video(home / "videos" / f"{case}.mp4", scenes, FPS, FPS)
        else:
            save_images(home / "frames" / case, [(f"{place:04d}.jpg", scene) for place, scene in enumerate(scenes, 1)])


def write_autolaparo_motion(root: Path) -> None:
    """Task 2, motions: clips in which one of three motions is announced by a color."""
    home = root / "Task 2 Laparoscope motion prediction"
    rows = []
    for number, case in enumerate(cases_of("autolaparo_motion")):
        motion = (0, 3, 5)[number % 3]
        save_video(home / "clips" / f"{case}.mp4", [Scene(motion)], FPS, CLIP_FRAMES)
        rows.append((case, motion, 2))
    write_table(home / "laparoscope_motion_label.txt", ["Clip", "Label", "Phase"], rows)


def write_multibypass140(root: Path) -> None:
    """Images one a second with labels in the pickles of a fold, but for the case for validation, which has a JSON."""
    labels = root / "labels" / "bern"
    names = ("train/1fps_100_1.pickle", "val/1fps_1.pickle", "test/1fps_1.pickle")
    number = 0
    for side, (name, cases) in enumerate(zip(names, CASES["multibypass140"], strict=True)):
        official = {}
        for case in cases:
            phases = timeline((0, 1, 3, 7), SECONDS, number)
            steps = timeline((1, 2, 7, 17, 32), SECONDS, number + 1)
            scenes = [Scene(phase, (step,)) for phase, step in zip(phases, steps, strict=True)]
            files = [(f"{case}_{place:08d}.jpg", scene) for place, scene in enumerate(scenes, 1)]
            save_images(root / "datasets" / "MultiBypass140" / "BernBypass70" / "frames" / case, files)
            official[case] = [
                {"Frame_id": f"{case}_{t + 1:08d}", "Original_frame_id": t, "Phase_gt": phases[t], "Step_gt": steps[t]}
                for t in range(SECONDS)
            ]
            if side == 1:
                _write_json(labels / "labels_by70" / f"{case}.mp4.json", phases, steps)
            number += 1
        if side != 1:
            file = labels / "labels_by70_splits" / "labels" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pickle.dumps(official))


def _write_json(file: Path, phases: list[int], steps: list[int]) -> None:
    """Intervals in ms; second t of the images shows what holds at t + 1 s."""
    times = [(1000 * t + 500, 1000 * t + 1500) for t in range(len(phases))]
    names = {
        "phases": [multibypass140.PHASES[phase] for phase in phases],
        "steps": [f"s{step}_{multibypass140.STEPS[step]}" for step in steps],
    }
    content = {
        kind: [{"start": start, "end": end, "label_name": name} for (start, end), name in zip(times, own, strict=True)]
        for kind, own in names.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_lapgyn4(root: Path) -> None:
    """An image of each action in every operation, and a second one of some."""
    for label, action in enumerate(lapgyn4.ACTIONS):
        scenes = [
            (f"c_{case}_v_{case + 100}_f_{frame}.jpg", Scene(label))
            for case in LAPGYN4_CASES
            for frame in range(1, 2 + (case + label) % 2)
        ]
        save_images(root / lapgyn4.FOLDER / action, scenes)
