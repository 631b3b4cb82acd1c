"""Damaged data costs its own tasks and no others; the skip list says which file and row are wrong."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluation.benchmark import main
from evaluation.records import read_records
from evaluation.skips import read_skips
from tests.evaluation.datasets.layouts import edit_line, write_mp4
from tests.evaluation.world import World, use_splits
from training.errors import run_entry

HEALTHY = "tool_m2cai16"
Damage = Callable[[Path], object]  # is given the data root


@pytest.fixture(autouse=True, scope="module")
def _reduced_splits(world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_splits(world, patch)
        yield


@pytest.fixture
def root(world: World, tmp_path: Path) -> Path:
    """A healthy dataset and three that a test may damage."""
    for name in ("m2cai16-tool", "m2cai16-workflow", "cholec80", "JIGSAWS"):
        shutil.copytree(world.root / name, tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.fixture
def words(zen_folder: Path, root: Path, tmp_path: Path) -> list[str]:
    output = tmp_path / "results.jsonl"
    usual = ["--model", zen_folder, "--data-root", root, "--output", output, "--image-size", 32, "--probes", "knn"]
    return [str(word) for word in usual]


def add_rows(root: Path, count: int) -> None:
    """Phases of native frames behind the end of a video of 350."""
    table = root / "cholec80" / "phase_annotations" / "video49-phase.txt"
    table.write_text(table.read_text() + "".join(f"{350 + row}\tClippingCutting\n" for row in range(count)))


def cut(path: Path, share: float) -> None:
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])


def overwrite(path: Path) -> None:
    """Put zeros where the frames of a video are and leave its index, which lies at the end, as it is."""
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path.write_bytes(content)


DAMAGES: list[tuple[str, str, Damage, str]] = [
    (
        "a missing dataset",
        "phase_cholec80",
        lambda root: shutil.rmtree(root / "cholec80"),
        r"task 'phase_cholec80' needs the dataset 'cholec80', which is not in .*; it comes from http",
    ),
    (
        "a label file that was not downloaded",
        "tool_cholec80",
        lambda root: (root / "cholec80" / "tool_annotations" / "video49-tool.txt").unlink(),
        r"case 'video49' of the split has no label file such as '.*/tool_annotations/video49-tool.txt'",
    ),
    (
        "an unknown class",
        "phase_cholec80",
        lambda root: edit_line(root / "cholec80" / "phase_annotations" / "video03-phase.txt", 8, "6\tLunch"),
        r"row 7 of '.*/phase_annotations/video03-phase.txt' has the unknown phase 'Lunch'; known are Preparation, ",
    ),
    (
        "an unknown gesture",
        "gesture_jigsaws",
        lambda root: edit_line(root / "JIGSAWS" / "Suturing" / "transcriptions" / "Suturing_B002.txt", 2, "7 12 G99"),
        r"line 2 of '.*/transcriptions/Suturing_B002.txt' is '7 12 G99', not first frame, last frame and gesture",
    ),
    (
        "two rows behind the end",
        "phase_cholec80",
        lambda root: add_rows(root, 2),
        r"row 351 of '.*/video49-phase.txt' is of frame 350, but '.*/videos/video49.mp4' has 350 frames",
    ),
    (
        "two files for one case",
        "phase_cholec80",
        lambda root: shutil.copy(root / "cholec80/videos/video49.mp4", root / "cholec80/videos/video49.avi"),
        r"'.*/video49.avi' and '.*/video49.mp4' are both of case 'video49'; one of them is expected",
    ),
    (
        "a video at another rate",
        "phase_cholec80",
        lambda root: write_mp4(root / "cholec80" / "videos" / "video49.mp4", 350, fps=30),
        r"'.*/videos/video49.mp4' runs at 30 frames/s, its labels count 25; put the original video there",
    ),
    (
        "a video that was cut off",
        "phase_cholec80",
        lambda root: cut(root / "cholec80" / "videos" / "video49.mp4", 0.6),
        r"'.*/videos/video49.mp4' cannot be read as a video",
    ),
    (
        "a video whose frames are lost",
        "phase_cholec80",
        lambda root: overwrite(root / "cholec80" / "videos" / "video49.mp4"),
        r"'.*/videos/video49.mp4' cannot be decoded",
    ),
    (
        "a rated video whose frames are lost",
        "skill_jigsaws",
        lambda root: overwrite(root / "JIGSAWS" / "Suturing" / "video" / "Suturing_B002_capture1.avi"),
        r"'.*/video/Suturing_B002_capture1.avi' cannot be decoded",
    ),
    (
        "an image that was cut off",
        "phase_m2cai16",
        lambda root: cut(root / "m2cai16-workflow" / "frames" / "workflow_video_02" / "00003.png", 0.5),
        r"image '.*/frames/workflow_video_02/00003.png' cannot be decoded",
    ),
]


@pytest.mark.parametrize(("task", "damage", "message"), [row[1:] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
def test_the_run_goes_on_with_the_other_tasks(
    task: str, damage: Damage, message: str, root: Path, words: list[str], tmp_path: Path
) -> None:
    damage(root)
    main([*words, "--tasks", HEALTHY, task])
    assert {record.task for record in read_records(tmp_path / "results.jsonl")} == {HEALTHY}
    (skip,) = read_skips(tmp_path / "results.jsonl")
    assert (skip.task, skip.protocol) == (task, "")
    assert_matches(message, skip.reason)


def assert_matches(message: str, reason: str) -> None:
    """A sentence of one line that says this."""
    assert re.search(message, reason), reason
    assert "\n" not in reason


def test_one_row_behind_the_end_is_known_to_happen(root: Path, words: list[str], tmp_path: Path) -> None:
    add_rows(root, 1)
    main([*words, "--tasks", "phase_cholec80"])
    assert {record.task for record in read_records(tmp_path / "results.jsonl")} == {"phase_cholec80"}
    assert read_skips(tmp_path / "results.jsonl") == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [(DAMAGES[2][2], "unknown phase 'Lunch'"), (DAMAGES[8][2], "video49.mp4' cannot be decoded")],
    ids=["labels", "frames"],
)
def test_with_nothing_left_the_command_ends_in_one_sentence(
    damage: Damage, message: str, root: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(root)
    with pytest.raises(SystemExit) as stopped:
        run_entry(lambda: main([*words, "--tasks", "phase_cholec80"]))
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
