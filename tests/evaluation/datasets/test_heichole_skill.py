from pathlib import Path

import pytest

from evaluation.datasets import heichole_skill
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleDataset
from evaluation.datasets.workflow import load_split
from tests.evaluation.datasets.layouts import split, write_mp4, write_table
from training.errors import UserError

RATINGS = {"Calot": (3, 4, 5, 2, 1), "Dissection": (5, 5, 4, 4, 3)}


def table(root: Path, part: str) -> Path:
    return root / "Annotations" / "Skill" / f"{part}_Skill.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "HeiChole"
    for case, fps in (("Hei-Chole1", 25), ("Hei-Chole16", 50)):
        for part, ratings in RATINGS.items():
            write_mp4(root / "Videos" / "Skill" / f"{case}_{part}.mp4", 64, fps)
            write_table(table(root, f"{case}_{part}"), [], [ratings], ",")
        write_table(table(root, case), [], [(1, 1, 1, 1, 1)], ",")  # of the whole operation: not read
    return root


def scan(root: Path) -> SampleDataset:
    return heichole_skill.scan(root, split(["Hei-Chole1"], ["Hei-Chole16"]))


def test_two_parts_of_each_operation(root: Path) -> None:
    dataset = scan(root)
    assert [(s.case_id, s.side, s.frames[0].path.name, s.label) for s in dataset.samples] == [
        ("Hei-Chole1", "train", "Hei-Chole1_Calot.mp4", (3, 4, 5, 2, 1)),
        ("Hei-Chole1", "train", "Hei-Chole1_Dissection.mp4", (5, 5, 4, 4, 3)),
        ("Hei-Chole16", "test", "Hei-Chole16_Calot.mp4", (3, 4, 5, 2, 1)),
        ("Hei-Chole16", "test", "Hei-Chole16_Dissection.mp4", (5, 5, 4, 4, 3)),
    ]
    assert [frame.frame_index for frame in dataset.samples[0].frames] == list(range(1, 64, 2))
    assert (dataset.target.kind, len(dataset.target.classes)) == ("value", 5)


def test_names_in_any_case_of_letters_and_a_header_of_words(root: Path) -> None:
    (root / "Videos").rename(root / "videos")
    (root / "videos" / "Skill").rename(root / "videos" / "skill")
    clip = root / "videos" / "skill" / "Hei-Chole1_Calot.mp4"
    clip.rename(clip.with_name("hei-chole01_calot.MP4"))
    file = table(root, "Hei-Chole1_Calot")
    write_table(file, ["depth", "bimanual", "efficiency", "tissue", "difficulty"], [(1, 2, 3, 4, 5)], ",")
    file.rename(file.with_name("hei-chole1_calot_skill.csv"))
    assert heichole_skill.find(root.parent) == root
    assert (scan(root).samples[0].label, scan(root).samples[0].frames[0].path.suffix) == ((1, 2, 3, 4, 5), ".MP4")


def test_registered_with_the_folds_of_heichole(root: Path) -> None:
    for number in range(1, 6):
        assert load_split("heichole_skill", f"fold{number}") == load_split("heichole", f"fold{number}")
    assert SAMPLE_DATASETS.get("heichole_skill").scan is heichole_skill.scan
    with pytest.raises(UserError, match=r"'Hei-Chole4_Calot' of the split has no label file such as '.*Calot_Skill.cs"):
        heichole_skill.scan(root, None)


@pytest.mark.parametrize("text", ["3,4,5,2", "3,4,5,2,6", "3,4,5,2,0", "3,4,x,2,1", "3,4,5,2,1\n3,4,5,2,1", "", "\n"])
def test_tables_that_are_no_ratings(text: str, root: Path) -> None:
    table(root, "Hei-Chole16_Dissection").write_text(text)
    with pytest.raises(UserError, match=r"Hei-Chole16_Dissection_Skill.csv' holds '.*'; one row of 5 whole numbers"):
        scan(root)


def test_files_that_are_missing_or_too_many(root: Path) -> None:
    file = table(root, "Hei-Chole1_Calot")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"Hei-Chole1_Calot_Skill.csv' cannot be read as text"):
        scan(root)
    write_table(file.with_name("heichole01_CALOT_skill.csv"), [], [RATINGS["Calot"]], ",")
    with pytest.raises(UserError, match=r"both of case 'Hei-Chole1_Calot'; one of them is expected"):
        scan(root)
    file.unlink()
    assert len(scan(root).samples) == 4
    video = root / "Videos" / "Skill" / "Hei-Chole16_Calot.mp4"
    write_mp4(video, 20)
    with pytest.raises(UserError, match=r"Hei-Chole16_Calot.mp4' has 20 frames; at least 32 are needed"):
        scan(root)
    video.unlink()
    with pytest.raises(UserError, match=r"Skill.csv' has no video such as '.*Videos/Skill/Hei-Chole16_Calot.mp4'"):
        scan(root)
