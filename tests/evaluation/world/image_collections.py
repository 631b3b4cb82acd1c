"""HyperKvasir and LEMON: many small things of many kinds, images with a finding and videos with procedures."""

import json
from pathlib import Path

from evaluation.datasets import lemon
from tests.evaluation.datasets.layouts import write_table
from tests.evaluation.world.pictures import Scene, save_images, save_video

# Of HyperKvasir: class as the table spells it, and its folder.
FINDINGS = (
    ("polyp", "lower-gi-tract/pathological-findings/polyps"),
    ("normal-cecum", "lower-gi-tract/anatomical-landmarks/cecum"),
    ("normal-pylorus", "upper-gi-tract/anatomical-landmarks/pylorus"),
    ("oesophagitis-a", "upper-gi-tract/pathological-findings/esophagitis-a"),
)
IMAGES = (4, 3)  # of each finding with index 0, which is trained on, and 1
# Of LEMON, by our rule: five for training, two for validation, three for testing.
VIDEOS = tuple(f"zen{number:08d}" for number in (1, 3, 6, 7, 20, 2, 4, 11, 16, 27))
PROCEDURES = ("appendectomy", "colectomy", "hysterectomy")


def write_hyperkvasir(root: Path) -> None:
    """A few images of four of the findings."""
    rows = []
    for number, (finding, folder) in enumerate(FINDINGS):
        names = [(f"{finding}-{index}-{place}.jpg", index) for index in (0, 1) for place in range(IMAGES[index])]
        save_images(root / "labeled-images" / folder, [(name, Scene(number)) for name, _ in names])
        rows += [(name, finding, index) for name, index in names]
    write_table(root / "official_splits" / "2_fold_split.csv", ["file-name", "class-name", "split-index"], rows, ";")


def write_lemon(root: Path) -> None:
    """Videos of 32 frames, every third with a second procedure."""
    entries = []
    for number, video in enumerate(VIDEOS):
        own = sorted({number % 3, (number // 3) % 3} if number % 2 == 0 else {number % 3})
        save_video(root / "videos" / f"{video}.mp4", [Scene(2, tuple(own))], 25, 2 * lemon.FRAMES)
        entries.append({"youtubeId": video, "procedureName": [PROCEDURES[place] for place in own]})
    (root / "labels.json").write_text(json.dumps(entries))
