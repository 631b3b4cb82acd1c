"""Cataract-101, CATARACTS and PitVis: operations under a microscope or an endoscope with phases, steps and tools."""

from pathlib import Path

from evaluation.datasets import cataracts
from tests.evaluation.datasets.layouts import write_table
from tests.evaluation.world.cases import cases_of
from tests.evaluation.world.cholecystectomy import flags
from tests.evaluation.world.pictures import Scene, save_images, save_video, there, timeline

SECONDS = 8
TOOLS = 4  # that occur


def write_cataract101(root: Path) -> None:
    """Images one a second; a row where a phase starts."""
    starts, sizes = [], []
    for number, case in enumerate(cases_of("cataract101")):
        phases = timeline((1, 2, 3, 5), SECONDS, number)
        video = case.removeprefix("case_")
        starts += [(video, 25 * place, phase) for place, phase in enumerate(phases) if phase not in phases[:place]]
        sizes.append((video, 25 * SECONDS, 25, 1 + number % 4, 1))
        save_images(root / "frames" / case, [(f"{place:04d}.jpg", Scene(phase)) for place, phase in enumerate(phases)])
    write_table(root / "annotations.csv", ["VideoID", "FrameNo", "Phase"], starts, ";")
    write_table(root / "videos.csv", ["VideoID", "Frames", "FPS", "Surgeon", "Experience"], sizes, ";")


def write_cataracts(root: Path) -> None:
    """Every thirtieth image for training, videos for validation and testing; the experts disagree on one tool."""
    fps = round(cataracts.NATIVE_FPS)
    header = ["Frame", "to_be_evaluated", *(tool.lower() for tool in cataracts.TOOLS)]
    for number, case in enumerate(cases_of("cataracts")):
        steps = timeline((0, 3, 5, 8), SECONDS, number)
        tools = [there(TOOLS, second, number) for second in range(SECONDS)]
        frames = range(fps * SECONDS)
        table = [[frame + 1, 1, *flags(tools[frame // fps], 20), 0.5 if frame >= fps * 7 else 0] for frame in frames]
        write_table(root / "tool_annotations" / f"{case}.csv", header, table, ",")
        rows = [(frame + 1, steps[frame // fps]) for frame in frames]
        write_table(root / "phase_annotations" / f"{case}.csv", ["Frame", "Steps"], rows, ",")
        scenes = [Scene(step, own) for step, own in zip(steps, tools, strict=True)]
        if case.startswith("train"):
            save_images(root / case, [(f"frame{fps * place + 1}.jpg", scene) for place, scene in enumerate(scenes)])
        else:
            save_video(root / "videos" / f"{case}.mp4", scenes, fps, fps)


def write_pitvis(root: Path) -> None:
    """Videos at 24 and 25 frames a second; the last row lies behind the end."""
    for number, case in enumerate(cases_of("pitvis")):
        fps = 25 if case == "video_24" else 24
        steps = timeline((1, 2, 4, 5), SECONDS, number)
        tools = [tuple(tool + 1 for tool in there(TOOLS, second, number))[:2] for second in range(SECONDS)]
        save_video(root / f"{case}.mp4", [Scene(*pair) for pair in zip(steps, tools, strict=True)], fps, fps)
        rows = [
            (int(case[-2:]), second, step, *_two(own))
            for second, (step, own) in enumerate(zip(steps, tools, strict=True))
        ]
        rows.append((int(case[-2:]), SECONDS, -1, -1, -2))
        header = ["int_video", "int_time", "int_step", "int_instrument1", "int_instrument2"]
        write_table(root / f"annotations_{case[-2:]}.csv", header, rows, ",")


def _two(own: tuple[int, ...]) -> tuple[int, int]:
    """Instruments as two columns: 0 is none visible, -2 no second one."""
    return own[0] if own else 0, own[1] if len(own) > 1 else -2
