"""Known overlaps: which public case a path is, which are the same operation, and which are tested on."""

import json
import re
from dataclasses import replace

import pytest

from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.manifest import Clip
from training.corpus.overlaps import OVERLAPS_FILE, KnownOverlaps, known_overlaps, overlap_report, with_overlaps

CONTENT = json.loads(OVERLAPS_FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("place", "case"),
    [
        ("cholec80/videos/video41.mp4", "cholec80/video41"),
        ("Cholec80/frames/video05/00000.png", "cholec80/video05"),
        ("CholecT50/videos/VID111/000000.png", "cholect50/VID111"),
        ("mine/CholecSeg8k/video12/video12_00080/frame_80_endo.png", "cholecseg8k/video12"),
        ("cholec80-CVS/video7.mp4", "cholec80-cvs/video07"),
        ("Cholec80-VQA/Classification/5/100_QA.jpg", "cholec80-vqa/video05"),
        ("m2cai16-tool/test_dataset/tool_video_11.mp4", "m2cai16-tool/tool_video_11"),
        ("m2cai16-workflow/test_dataset/test_workflow_video_03.mp4", "m2cai16-workflow/test_workflow_video_03"),
        ("m2cai16-workflow/train_dataset/workflow_video_03.mp4", None),
        ("endoscapes/test/162_12750.jpg", "endoscapes/162"),
        ("HeiChole/Videos/Full/Hei-Chole16.mp4", "heichole/Hei-Chole16"),
        ("AutoLaparo/Task 1 Surgical workflow recognition/videos/21.mp4", "autolaparo-phase/21"),
        ("AutoLaparo/Task 2 Laparoscope motion prediction/clips/228.mp4", "autolaparo-motion/clip228"),
        ("AutoLaparo/Task 3 Instrument and key anatomy segmentation/imgs/229001.jpg", "autolaparo-motion/clip229"),
        ("MultiBypass140/BernBypass70/frames/BBP03/BBP03_00000005.jpg", "multibypass140/BBP03"),
        ("GraSP_30fps/frames/CASE041/000000000.jpg", "grasp/CASE041"),
        ("PitVis/video_06.mp4", "pitvis/video_06"),
        ("SAR-RARP50/test/video_41/video_left.avi", "sar-rarp50/video_41"),
        ("SAR-RARP50/train1/video_1/video_left.avi", None),
        ("JIGSAWS/Suturing/video/Suturing_B001_capture1.avi", "jigsaws/Suturing_B001"),
        ("CATARACTS/test01/frame1.jpg", "cataracts/test01"),
        ("Cataract-101/videos/case_269.mp4", "cataract-101/case_269"),
        ("EndoVis2017/train/instrument_dataset_1/left_frames/frame000.png", "endovis17/instrument_dataset_1"),
        ("miccai_challenge_release_2/seq_5/left_frames/frame000.png", "endovis18/seq_5"),
        ("EndoVis-18-VQA/seq_16/left_fr/frame000.png", "endovis18-vqa/seq_16"),
        ("DSAD/liver/02/image00.png", "dsad/patient02"),
        ("scared/dataset1/keyframe3/data/rgb.mp4", "scared/dataset1_keyframe3"),
        ("LEMON/videos/dQw4w9WgXcQ.mp4", "lemon/dQw4w9WgXcQ"),
        ("LapGyn4_v1.2/Surgical_Actions/Suturing/c_12_v_113587_f_13.jpg", "lapgyn4/c_12"),
        ("LapGyn4_v1.2/Instrument_Count/3/31.jpg", None),
        (
            "hyper-kvasir/labeled-images/lower-gi-tract/pathological-findings/polyps/4bf58f1c-8233-41fc-9614-344e6d0fc351.jpg",
            "hyperkvasir/4bf58f1c-8233-41fc-9614-344e6d0fc351",
        ),
        ("hyper-kvasir/unlabeled-images/4bf58f1c-8233-41fc-9614-344e6d0fc351.jpg", None),
        ("hospital/videos/video41.mp4", None),
        ("cholec800/video41.mp4", None),
    ],
)
def test_the_case_of_a_path(place, case):
    assert known_overlaps().case(place) == case


def test_the_same_operation_under_all_its_names():
    known = known_overlaps()
    # Endoscapes' training video 1 is Cholec80's 67 and M2CAI-tool's training video 1: only the second is tested on.
    assert known.test_cases("endoscapes/001") == ("cholec80/video67",)
    assert known.test_cases("endoscapes/121") == ("cholec80/video66", "cholect45/VID66", "cholect50/VID66",
        "m2cai16-tool/tool_video_15")  # fmt: skip
    assert known.test_cases("cholec80/video43") == (
        "cholec80/video43", "cholect45/VID43", "cholect50/VID43", "ssg-vqa/VID43",
    )  # fmt: skip
    assert known.test_cases("endoscapes/010") == ("cholect50/VID96",)
    same = {"cholec80/video67", "endoscapes/001", "m2cai16-tool/tool_video_01"}
    assert same <= set(known.same_operation("endoscapes/001"))
    assert known.same_operation("heichole/Hei-Chole1") == ("heichole/Hei-Chole1",)
    assert known.test_cases("psi-ava/CASE001") == ("psi-ava/CASE001",)
    assert known.test_cases("autolaparo-phase/14") == ()


def test_the_numbers_of_test_cases_are_those_of_the_splits():
    count = {}
    for entry in CONTENT["test_cases"]:
        if entry["cases"] != "all":
            count[entry["benchmark"], entry["split"].split(",")[0]] = len(set(entry["cases"]))
    assert count["cholec80", "40/40"] == 40
    assert count["cholect50", "crossval"] == 50
    assert count["cholect45", "crossval"] == 45
    assert count["autolaparo-motion", "170/57/73"] == 73
    assert count["endoscapes", "test"] == 40
    assert count["m2cai16-workflow", "27/14"] == 14


def test_every_entry_names_its_source_and_every_case_is_written_as_its_data_set_writes_it():
    for entry in [*CONTENT["datasets"].values(), *CONTENT["shared"], *CONTENT["test_cases"], *CONTENT["collections"]]:
        assert len(entry["source"]) > 5
    shapes = {key: re.sub(r"\\\{(\w+)(?::(\d+)d)?\\\}", r"\\w+", re.escape(entry["name"]))
              for key, entry in CONTENT["datasets"].items()}  # fmt: skip
    named = [(entry["benchmark"], case) for entry in CONTENT["test_cases"] if entry["cases"] != "all"
             for case in entry["cases"]]  # fmt: skip
    for entry in CONTENT["shared"]:
        named += [(entry["of"], case) for case in entry["cases"]]
        named += [(entry["in"], case) for case in entry["cases"].values()]
    for key, case in named:
        assert re.fullmatch(shapes[key], case), (key, case)


def test_other_files_are_refused():
    with pytest.raises(ValueError, match=r"overlaps.json has schema 2, this code reads 1"):
        KnownOverlaps({**CONTENT, "schema_version": 2})
    wrong = [{"benchmark": "cholec81", "cases": "all", "split": "", "source": ""}]
    with pytest.raises(ValueError, match=r"names data set 'cholec81', which it does not describe"):
        KnownOverlaps({**CONTENT, "test_cases": wrong})


def test_clips_are_named_and_reported(make_clip):
    clips = [
        make_clip(source="cholec80", path="videos/video43.mp4", num_frames=5),
        make_clip(source="cholec80", path="videos/video03.mp4", clip_id="b", num_frames=7, split="held_out"),
        make_clip(source="SurgeNetXL", path="a.mp4", clip_id="c", num_frames=9),
    ]
    first, second, third = with_overlaps(clips, {"b": ["mine/case2"], "c": []})
    assert first.overlaps == ("cholec80/video43", "cholect45/VID43", "cholect50/VID43", "ssg-vqa/VID43")
    assert (second.overlaps, third.overlaps) == (("mine/case2",), ())
    assert clips[0].overlaps == ()
    report = overlap_report([first, second, third])
    assert report["seen"]["cholec80/video43"] == {"train": 5, "held_out": 0}
    assert report["seen"]["mine/case2"] == {"train": 0, "held_out": 7}
    assert list(report["possible"]) == ["surgenetxl"]
    assert "cholec80 (76 videos)" in report["possible"]["surgenetxl"]
    assert with_overlaps([first], {}) == [first]


@pytest.fixture
def make_clip(mixed_corpus):
    example = Corpus.open(mixed_corpus).manifest[0]

    def make(clip_id: str = "a", split: str = "train", **changes: object) -> Clip:
        return replace(example, clip_id=clip_id, split=split, **changes)

    return make


@pytest.mark.parametrize("readable", [False, True])
def test_curation_names_test_cases_whatever_names_the_corpus_shows(tmp_path, scene, write_still, settings, readable):
    for video in ("video41", "video03"):
        write_still(tmp_path / "cholec80" / "frames" / video / "00000.png", scene(int(video[-2:])))
    curate([tmp_path / "cholec80"], tmp_path / "out", settings(deidentify=not readable))
    shown = sorted(clip.overlaps for clip in Corpus.open(tmp_path / "out").manifest)
    assert shown == [(), ("cholec80/video41",)]
    facts = json.loads((tmp_path / "out" / "curation.json").read_text())
    assert list(facts["overlaps"]["seen"]) == ["cholec80/video41"]
