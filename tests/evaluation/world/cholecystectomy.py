"""Cholec80 with its CVS table, M2CAI16, HeiChole with skill, CholecT50 and Endoscapes: phases, tools, triplets, safety.

Backgrounds and things mean the same in all of them, so that what is learned in one can be tested in another.
"""

import csv
import json
from pathlib import Path

from openpyxl import Workbook

from evaluation.datasets import cholec80, cholect50, endoscapes_cvs, heichole, heichole_skill
from tests.evaluation.datasets.layouts import write_table
from tests.evaluation.world.cases import CASES, cases_of
from tests.evaluation.world.pictures import Scene, save_images, save_video, there, timeline

FPS = 25
SECONDS = 8  # of a video
PHASES = (0, 1, 2, 3)  # of Cholec80; in its own videos the second lasts longest, as the CVS is rated in it
TOOLS = 4  # that occur, the first of each list
CRITERIA = ((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2))  # of the CVS that can be met together
CRITERION = 8  # number of the thing that stands for the first criterion, behind those of tools
BEFORE_CLIPPING = 8  # seconds of a Cholec80 video before the first clip, of which the last two are rated
TRIPLETS = (17, 60, 79, 82)  # grasper retracts gallbladder, hook dissects it, clipper on duct, irrigator sucks fluid


def criteria(case: int, second: int) -> tuple[int, ...]:
    """The criteria of the CVS that are met; never none, as a row without points leaves what was said before."""
    return CRITERIA[(2 * case + second) % len(CRITERIA)]


def shown(met: tuple[int, ...]) -> tuple[int, ...]:
    """The things that show criteria."""
    return tuple(CRITERION + number for number in met)


def write_cholec80(root: Path) -> None:
    """Videos of 14 s, and the table of Cholec80-CVS."""
    cases = sorted({*cases_of("cholec80"), *cases_of("cholec80_cvs")})
    rows: list[list[object]] = []
    for number, case in enumerate(cases):
        start = 1 + number % 3
        phases = [0] * start + [1] * (BEFORE_CLIPPING - start) + [2, 2, 3, 3, 4, 4]
        rated = {second: criteria(number, second) for second in (BEFORE_CLIPPING - 2, BEFORE_CLIPPING - 1)}
        tools = [there(TOOLS, second, number) for second in range(len(phases))]
        scenes = [Scene(phase, (*tools[second], *shown(rated.get(second, ())))) for second, phase in enumerate(phases)]
        save_video(root / "videos" / f"{case}.mp4", scenes, FPS, FPS)
        names = [cholec80.PHASES[phase] for phase in phases for _ in range(FPS)]
        write_table(root / "phase_annotations" / f"{case}-phase.txt", ["Frame", "Phase"], enumerate(names))
        table = [[FPS * second, *flags(own, len(cholec80.TOOLS))] for second, own in enumerate(tools)]
        write_table(root / "tool_annotations" / f"{case}-tool.txt", ["Frame", *cholec80.TOOLS], table)
        for second, met in rated.items():
            two, triangle, plate = (2 * (criterion in met) for criterion in range(3))
            rows.append([int(case[-2:]), 0, second, 0, second + 1, two, plate, triangle, two + plate + triangle, 0])
    times = ["video", "initial_minute", "initial_second", "final_minute", "final_second"]
    book = Workbook()
    head = [*times, "two_structures", "cystic_plate", "hepatocystic_triangle", "Total", "critical_view"]
    for row in [head, *rows]:
        book.active.append(row)
    book.save(root / "cholec80-CVS.xlsx")


def flags(own: tuple[int, ...], count: int) -> list[int]:
    """0 or 1 for each of `count` columns."""
    return [int(column in own) for column in range(count)]


def write_m2cai16_workflow(root: Path) -> None:
    """Images one a second; all phases but the first are those of Cholec80."""
    for number, case in enumerate(cases_of("m2cai16_workflow")):
        phases = timeline((0, *PHASES), SECONDS, number)  # of Cholec80
        phases[0] = -1  # the one before
        names = ["TrocarPlacement" if phase < 0 else cholec80.PHASES[phase] for phase in phases for _ in range(FPS)]
        side = "test_dataset" if case.startswith("test") else "train_dataset"
        write_table(root / side / f"{case}.txt", ["Frame", "Phase"], enumerate(names))
        scenes = [(f"{second + 1:05d}.png", Scene(phase % 8)) for second, phase in enumerate(phases)]
        save_images(root / "frames" / case, scenes)


def write_m2cai16_tool(root: Path) -> None:
    """Images one a second, and a video in each folder."""
    for number, case in enumerate(cases_of("m2cai16_tool")):
        tools = [there(TOOLS, second, number) for second in range(SECONDS)]
        home = root / ("train_dataset" if number < 4 else "test_dataset")
        table = [[FPS * second, *flags(own, len(cholec80.TOOLS))] for second, own in enumerate(tools)]
        write_table(home / f"{case}.txt", ["Frame", *cholec80.TOOLS], table)
        scenes = [Scene(1, own) for own in tools]
        if case.endswith("1"):
            save_video(home / f"{case}.mp4", scenes, FPS, FPS)
        else:
            save_images(root / "frames" / case, [(f"{place}.jpg", scene) for place, scene in enumerate(scenes)])


def write_heichole(root: Path) -> None:
    """Videos of some operations, images of others; two rated parts of each, of 32 frames."""
    labels = root / "Annotations"
    for number, case in enumerate(cases_of("heichole")):
        fps = 50 if case in heichole.AT_50_FPS else FPS
        phases = timeline(PHASES, SECONDS, number)
        tools = [there(TOOLS, second, number) for second in range(SECONDS)]
        actions = [there(3, second + 1, number) for second in range(SECONDS)]
        scenes = [
            Scene(phase, (*tools[second], *(action + 12 for action in actions[second])))
            for second, phase in enumerate(phases)
        ]
        if number % 3 == 0:
            save_video(root / "Videos" / "Full" / f"{case}.mp4", scenes, fps, fps)
        else:
            save_images(root / "frames" / case, [(f"{second:04d}.png", each) for second, each in enumerate(scenes)])
        columns = {
            "Phase": [[phase] for phase in phases],
            "Instrument": [flags(own, 21) for own in tools],
            "Action": [flags(own, 4) for own in actions],
        }
        for kind, rows in columns.items():
            table = [[frame, *rows[frame // fps]] for frame in range(fps * SECONDS)]
            write_table(labels / kind / f"{case}_Annotation_{kind}.csv", [], table, ",")
        for place, part in enumerate(heichole_skill.PARTS):
            ratings = [1 + (number + place + 2 * criterion) % 5 for criterion in range(5)]
            write_table(labels / "Skill" / f"{case}_{part}_Skill.csv", [], [ratings], ",")
            scene = Scene(place + 1, values=tuple(rating / 5 for rating in ratings))
            save_video(root / "Videos" / "Skill" / f"{case}_{part}.mp4", [scene], FPS, 32)


def write_cholect50(root: Path) -> None:
    """Images one a second; a frame shows a triplet or two, its components and nothing else."""
    for number, case in enumerate(cases_of("cholect50")):
        phases = timeline(PHASES, SECONDS, number)
        annotations: dict[str, list[list[int]]] = {}
        scenes = []
        for second, phase in enumerate(phases):
            own = [TRIPLETS[(second + number) % 4]] + ([TRIPLETS[(second // 2) % 4]] if second % 3 == 2 else [])
            own = list(dict.fromkeys(own))
            annotations[str(second)] = [_annotation(triplet, phase) for triplet in own]
            scenes.append((f"{second:06d}.png", Scene(phase, tuple(TRIPLETS.index(triplet) for triplet in own))))
        save_images(root / "videos" / case, scenes)
        path = root / "labels" / f"{case}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"video": int(case[3:]), "fps": 1, "annotations": annotations}))


def _annotation(triplet: int, phase: int) -> list[int]:
    """The 15 values: ids of triplet, instrument, verb, target and phase, and nothing about boxes."""
    names = cholect50.TRIPLETS[triplet].split(",")
    ids = [track.classes.index(name) for track, name in zip(cholect50.COMPONENTS[1:], names, strict=True)]
    return [triplet, ids[0], 1, *[-1] * 4, ids[1], ids[2], *[-1] * 5, phase]


def write_endoscapes_cvs(root: Path) -> None:
    """Frames one a second, of which the first of every five is rated by three who agree."""
    header = ["vid", "frame", "avg_cvs", "C1", "C2", "C3", "is_ds_keyframe", *endoscapes_cvs.RATERS]
    rows: list[list[object]] = []
    number = 0
    for side, videos in zip(("train", "val", "test"), CASES["endoscapes_cvs"], strict=True):
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{side}_vids.txt").write_text("".join(f"{int(video):.18e}\n" for video in videos))
        for video in videos:
            scenes = []
            for second in range(0, 22):
                met = criteria(number, second // 5)
                frame = 14775 + FPS * second
                scenes.append((f"{video}_{frame}.jpg", Scene(1, shown(met))))
                marks = flags(met, 3)
                votes = [str(marks)] * 3 if second % 5 == 0 else [""] * 3
                rows.append([video, frame, str(marks), *marks, second % 5 == 0, *votes])
            save_images(root / side, scenes)
            number += 1
    with (root / "all_metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
