from pathlib import Path

import pytest

from evaluation.datasets import jigsaws_skill
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleDataset
from evaluation.datasets.workflow import load_split
from tests.evaluation.datasets.layouts import edit_line, split, write_mp4
from training.errors import UserError

TRIALS = ("B001", "B002", "C001", "C002")


def write_trial(root: Path, task: str, trial: str) -> None:
    video = write_mp4(root / task / "video" / f"{task}_{trial}.mp4", 64, fps=30)
    video.rename(video.with_name(f"{task}_{trial}_capture1.avi"))
    video.with_name(f"{task}_{trial}_capture2.avi").touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A table as released: runs of tabs between cells. D001 has a video, but no line."""
    root = tmp_path / "JIGSAWS"
    for task in ("Suturing", "Knot_Tying"):
        for trial in (*TRIALS, "D001"):
            write_trial(root, task, trial)
        lines = [f"{task}_{trial}\t\tN\t{15 + row}\t\t2\t3\t2\t2\t3\t3" for row, trial in enumerate(TRIALS)]
        (root / task / f"meta_file_{task}.txt").write_text("\n".join([*lines, "", ""]))
    return root


def scan(root: Path, train: str = "Suturing_B", test: str = "Suturing_C") -> SampleDataset:
    return jigsaws_skill.scan(root, split([train], [test]))


def test_trials_of_a_user_are_samples_of_one_case(root: Path) -> None:
    dataset = scan(root)
    assert [(s.case_id, s.side, s.frames[0].path.name, s.label) for s in dataset.samples] == [
        ("Suturing_B", "train", "Suturing_B001_capture1.avi", (15,)),
        ("Suturing_B", "train", "Suturing_B002_capture1.avi", (16,)),
        ("Suturing_C", "test", "Suturing_C001_capture1.avi", (17,)),
        ("Suturing_C", "test", "Suturing_C002_capture1.avi", (18,)),
    ]
    assert [frame.frame_index for frame in dataset.samples[0].frames] == list(range(1, 64, 2))
    assert dataset.target.classes == ("GRS",)


def test_a_super_trial_is_a_case_too(root: Path) -> None:
    dataset = scan(root, "Knot_Tying_trial1", "Knot_Tying_trial2")
    assert [(s.case_id, s.frames[0].path.stem, s.label) for s in dataset.samples] == [
        ("Knot_Tying_trial1", "Knot_Tying_B001_capture1", (15,)),
        ("Knot_Tying_trial1", "Knot_Tying_C001_capture1", (17,)),
        ("Knot_Tying_trial2", "Knot_Tying_B002_capture1", (16,)),
        ("Knot_Tying_trial2", "Knot_Tying_C002_capture1", (18,)),
    ]


def test_found_and_registered(root: Path) -> None:
    assert jigsaws_skill.find(root.parent) == jigsaws_skill.find(root) == root
    assert jigsaws_skill.find(root / "Suturing") is None
    assert SAMPLE_DATASETS.get("jigsaws_skill").scan is jigsaws_skill.scan
    with pytest.raises(UserError, match=r"case 'Suturing_D' of the split has no trial in '.*meta_file_Suturing.txt'"):
        jigsaws_skill.scan(root, None)


@pytest.mark.parametrize(
    ("task", "users"), [("suturing", "BCDEFGHI"), ("knot_tying", "BCDEFGHI"), ("needle_passing", "BCDEFHI")]
)
def test_shipped_splits(task: str, users: str) -> None:
    for user in users:
        assert load_split("jigsaws_skill", f"{task}_{user}") == load_split("jigsaws", f"{task}_{user}")
    trials = [load_split("jigsaws_skill", f"{task}_trial{number}") for number in range(1, 6)]
    assert len({case for fold in trials for case in fold.test}) == 5
    assert all(len({*fold.train, *fold.test}) == 5 and not fold.val for fold in trials)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Suturing_B002\tN\t16\t2\t3\t2\t2\t3",
            r"line 2 of '.*meta_file_Suturing.txt' is 'Suturing_B002.*', not a tri",
        ),
        (
            "Suturing_B002\tX\t16\t2\t3\t2\t2\t3\t4",
            r"line 2 of '.*' is '.*', not a trial such as Suturing_B001, its le",
        ),
        ("Knot_Tying_B002\tN\t16\t2\t3\t2\t2\t3\t4", r"line 2 of '.*' is '.*', not a trial such as Suturing_B001"),
        ("Suturing_B002\tN\t31\t2\t3\t2\t2\t3\t4", r"line 2 of '.*' has the GRS '31'; it is 6 to 30"),
        ("Suturing_B002\tN\t-6\t2\t3\t2\t2\t3\t4", r"line 2 of '.*' has the GRS '-6'; it is 6 to 30"),
        ("Suturing_B001\tN\t16\t2\t3\t2\t2\t3\t4", r"line 2 of '.*' is the second one of trial 'Suturing_B001'"),
    ],
)
def test_broken_lines(text: str, message: str, root: Path) -> None:
    edit_line(root / "Suturing" / "meta_file_Suturing.txt", 2, text)
    with pytest.raises(UserError, match=message):
        scan(root)


def test_files_that_are_missing_or_do_not_fit(root: Path) -> None:
    folder = root / "Suturing" / "video"
    write_mp4(folder / "Suturing_B001_capture1.mp4", 64, fps=30)
    with pytest.raises(UserError, match=r"capture1.avi' and '.*capture1.mp4' are both of case 'Suturing_B001'"):
        scan(root)
    (folder / "Suturing_B001_capture1.avi").unlink()
    write_mp4(folder / "Suturing_B001_capture1.mp4", 64, fps=25)
    with pytest.raises(UserError, match=r"capture1.mp4' runs at 25 frames/s, its labels count 30"):
        scan(root)
    (folder / "Suturing_B001_capture1.mp4").unlink()
    with pytest.raises(UserError, match=r"trial 'Suturing_B001' is rated, but has no video such as '.*capture1.avi'"):
        scan(root)
    table = root / "Suturing" / "meta_file_Suturing.txt"
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"meta_file_Suturing.txt' cannot be read as text"):
        scan(root)
    table.unlink()
    with pytest.raises(UserError, match=r"'.*meta_file_Suturing.txt' is missing; the dataset is incomplete"):
        scan(root)
