"""Which cases of each dataset there are, as split files in the format of the shipped ones."""

import json
from pathlib import Path

from evaluation.datasets.workflow import Split, load_split

# Of the default split of each dataset: cases for training, validation and testing.
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "autolaparo": (("01", "02", "03", "04"), ("11",), ("15", "16")),
    "autolaparo_motion": (tuple(f"{clip:03d}" for clip in range(1, 7)), ("171", "172"), ("228", "229", "230")),
    "cataract101": (("case_270", "case_271", "case_278", "case_288"), ("case_269",), ("case_279", "case_295")),
    "cataracts": (("train01", "train02", "train03", "train04"), ("test01",), ("test02", "test03")),
    # The two of Cholec80 share videos: those for training here are on all three sides there.
    "cholec80": (("video01", "video03", "video04", "video05", "video06"), ("video41",), ("video49", "video50")),
    "cholec80_cvs": (("video03", "video04", "video41", "video49", "video50"), ("video01",), ("video05", "video06")),
    "cholect50": (("VID01", "VID02", "VID15", "VID26"), ("VID08",), ("VID06", "VID10", "VID111")),
    "endoscapes_cvs": (("1", "2", "3", "4"), ("121",), ("162", "163")),
    "grasp": (("CASE001", "CASE002", "CASE003", "CASE004"), (), ("CASE041", "CASE047")),
    "heichole": (
        ("Hei-Chole4", "Hei-Chole5", "Hei-Chole6", "Hei-Chole16"),
        ("Hei-Chole1",),
        ("Hei-Chole3", "Hei-Chole9"),
    ),
    "jigsaws": (("Suturing_C", "Suturing_D", "Suturing_E", "Suturing_F"), (), ("Suturing_B",)),
    "m2cai16_tool": (
        ("tool_video_01", "tool_video_02", "tool_video_03", "tool_video_04"),
        (),
        ("tool_video_11", "tool_video_12"),
    ),
    "m2cai16_workflow": (
        ("workflow_video_01", "workflow_video_02", "workflow_video_03", "workflow_video_04"),
        (),
        ("test_workflow_video_01", "test_workflow_video_02"),
    ),
    "multibypass140": (("BBP01", "BBP05", "BBP06", "BBP08"), ("BBP12",), ("BBP02", "BBP03")),
    "pitvis": (("video_02", "video_03", "video_04", "video_05"), (), ("video_01", "video_24")),
    "psi_ava": (("CASE001", "CASE004", "CASE014", "CASE015"), (), ("CASE002", "CASE003")),
    "sar_rarp50": (("video_01", "video_02", "video_03", "video_11"), (), ("video_41", "video_42")),
}
CASES["heichole_skill"] = CASES["heichole"]
CASES["jigsaws_skill"] = CASES["jigsaws"]


def cases_of(dataset: str) -> list[str]:
    """All cases of a dataset; the position of one tells it apart from the others."""
    return [case for side in CASES[dataset] for case in side]


def write_splits(folder: Path) -> Path:
    """Reduced split files; every case must be on the same side of the shipped default split."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset, sides in CASES.items():
        shipped = load_split(dataset)
        reduced = Split(shipped.name, shipped.source, *sides)
        for case, side in reduced.cases:
            assert shipped.side_of(case) == side, f"{case} of {dataset} is not on the {side} side"
        split = {"source": shipped.source, "train": reduced.train, "val": reduced.val, "test": reduced.test}
        content = {"default": shipped.name, "splits": {shipped.name: split}}
        (folder / f"{dataset}.json").write_text(json.dumps(content, indent=1))
    return folder
