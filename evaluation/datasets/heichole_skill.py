"""HeiChole (EndoVis 2019), skill: five ratings of two parts of each of 24 laparoscopic cholecystectomies.

The folder, that of `heichole.py`; letters of all names in any case::

    ROOT/
        Videos/Skill/Hei-Chole1_Calot.mp4, Hei-Chole1_Dissection.mp4 ...        the rated parts, cut out
        Annotations/Skill/Hei-Chole1_Calot_Skill.csv, Hei-Chole1_Dissection_Skill.csv ...

A table is one row of five whole numbers from 1 to 5, comma separated, without header; a first row of words is taken as
one: depth perception, bimanual dexterity, efficiency, tissue handling, difficulty of the case.

Quirks: the fifth is about the operation and not the surgeon, and is a value like the others. `Hei-Chole1_Skill.csv`, of
the whole operation, is not read. Rates differ by video (25 and 50 fps), which does not matter here. A part lasts
minutes; the middle frames of 32 equal parts of it stand for it (`spread.py`).

Sides: the five folds by operation of `heichole`, so that both parts of an operation are on one side.

Source: Wagner et al., HeiChole (Medical Image Analysis 2023), understood as CC BY-NC-SA 4.0; layout from a public audit
of the release and shinkyo0513/Surgical-Skill-Assessment-via-Video-Semantic-Aggregation. Neither was checked against the
release.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.datasets.dataset import find_below
from evaluation.datasets.heichole import folder_of
from evaluation.datasets.recordings import VIDEO_SUFFIX, by_case, label_file
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.spread import spread_frames
from evaluation.datasets.workflow import Side, Split, load_split
from training.errors import UserError

NAME = "heichole_skill"
PARTS = ("Calot", "Dissection")
TARGET = Target(
    "skill",
    "value",
    ("depth perception", "bimanual dexterity", "efficiency", "tissue handling", "case difficulty"),
)

_PART = r"hei[-_ ]?chole0*(\d+_(?:calot|dissection))"


def find(root: Path) -> Path | None:
    """The HeiChole folder with ratings of skill, at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "HeiChole", lambda folder: bool(_tables(folder)))


def scan(root: Path, split: Split | None) -> SampleDataset:
    """Read ratings and headers of videos.

    Raises:
        UserError: a part of a case of the split without table or video, two files for one part, a table that is not
            understood, or a video of which 32 frames cannot be taken.
    """
    split = split or load_split(NAME)
    tables = _tables(root)
    home = folder_of(root, "Videos", "Skill")
    videos = by_case(NAME, home, _PART + VIDEO_SUFFIX, _part)

    def read(case: str, side: Side) -> Iterator[LabeledSample]:
        for part in (f"{case}_{name}" for name in PARTS):
            file = label_file(NAME, part, tables, folder_of(root, "Annotations", "Skill") / f"{part}_Skill.csv")
            if part not in videos:
                raise UserError(f"{NAME}: {str(file)!r} has no video such as '{home / part}.mp4'")
            yield LabeledSample(case, side, spread_frames(NAME, videos[part], None), _read_ratings(file))

    samples = tuple(sample for case, side in split.cases for sample in read(case, side))
    return SampleDataset(NAME, root, TARGET, samples, split.name, split.source)


def _tables(root: Path) -> dict[str, Path]:
    return by_case(NAME, folder_of(root, "Annotations", "Skill"), _PART + r"_skill\.csv", _part)


def _part(text: str) -> str:
    number, name = text.split("_")
    return f"Hei-Chole{int(number)}_{name.capitalize()}"


def _read_ratings(file: Path) -> tuple[float, ...]:
    try:
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as text ({error})") from error
    if lines and not re.search(r"\d", lines[0]):
        lines = lines[1:]
    cells = [cell.strip() for cell in lines[0].split(",")] if len(lines) == 1 else []
    if len(cells) != len(TARGET.classes) or not all(re.fullmatch(r"[1-5]", cell) for cell in cells):
        raise UserError(
            f"{NAME}: {str(file)!r} holds {' / '.join(lines) or 'nothing'!r}; "
            f"one row of {len(TARGET.classes)} whole numbers from 1 to 5 is expected"
        )
    return tuple(float(cell) for cell in cells)


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0 (variant not verified)",
        obtain="https://www.synapse.org/heichole (syn18824884)",
        target=TARGET,
        find=find,
        scan=scan,
    )
)
