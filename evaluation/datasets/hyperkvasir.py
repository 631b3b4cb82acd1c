"""HyperKvasir, labeled images: stills of gastroscopy and colonoscopy, each of one of 23 findings or landmarks.

The folder::

    ROOT/
        labeled-images/                               or its two folders right in ROOT
            lower-gi-tract/pathological-findings/polyps/UUID.jpg        10,662 images; the class is the folder
            upper-gi-tract/anatomical-landmarks/z-line/UUID.jpg
        official_splits/2_fold_split.csv              file-name;class-name;split-index; right in ROOT too

Quirks: the table is not in the archive of images but in the repository simula/hyper-kvasir, and spells eight of the
classes differently (polyp and polyps, hemorroids, normal-z-line ...); `SPELLINGS` has them. The smallest class has 6
images, 3 on a side.

Cases: patients are not published, so every image is a case of its own, called after its file. Images of one patient can
be on both sides of the official split, and intervals by case are intervals by image.

Sides: the official two folds. `fold_1` (default) trains on index 0 and tests on index 1, `fold_2` the other way round.

Source: Borgli et al., HyperKvasir (Scientific Data 2020), CC BY 4.0. The genuine table was read, the images were not.
"""

from collections import Counter
from pathlib import Path

from evaluation.datasets.dataset import FrameReference, find_below, require_paths
from evaluation.datasets.recordings import IMAGE_SUFFIXES
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.workflow import Split, read_rows
from training.errors import UserError

NAME = "hyperkvasir"
IMAGES = "labeled-images"
TRACTS = ("lower-gi-tract", "upper-gi-tract")
TABLE = "2_fold_split.csv"
CLASSES = (  # as the folders are called
    "barretts",
    "barretts-short-segment",
    "bbps-0-1",
    "bbps-2-3",
    "cecum",
    "dyed-lifted-polyps",
    "dyed-resection-margins",
    "esophagitis-a",
    "esophagitis-b-d",
    "hemorrhoids",
    "ileum",
    "impacted-stool",
    "polyps",
    "pylorus",
    "retroflex-rectum",
    "retroflex-stomach",
    "ulcerative-colitis-grade-0-1",
    "ulcerative-colitis-grade-1",
    "ulcerative-colitis-grade-1-2",
    "ulcerative-colitis-grade-2",
    "ulcerative-colitis-grade-2-3",
    "ulcerative-colitis-grade-3",
    "z-line",
)
SPELLINGS = {  # of the table: of the folders
    "hemorroids": "hemorrhoids",
    "normal-cecum": "cecum",
    "normal-pylorus": "pylorus",
    "normal-z-line": "z-line",
    "oesophagitis-a": "esophagitis-a",
    "oesophagitis-b-d": "esophagitis-b-d",
    "polyp": "polyps",
    "short-segment-barretts": "barretts-short-segment",
}
TARGET = Target("finding", "single", CLASSES)

_COLUMNS = ["file-name", "class-name", "split-index"]
_ORDER = {1: ("0", "1"), 2: ("1", "0")}  # by fold: index of the train and of the test side


def find(root: Path) -> Path | None:
    """The HyperKvasir folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "HyperKvasir", _is_home)


def scan(root: Path, split: Split | None = None) -> SampleDataset:
    """Read the official table, and the names of images, in the order of the table.

    Args:
        root: of the dataset.
        split: `fold_split(root, 1)` if left out.

    Raises:
        UserError: a missing table, a row that is not understood, is a second one of its image or has no image, an
            image without row or in the folder of another class, or a case of the split without row.
    """
    rows = _read_table(root)
    images = _read_images(root)
    split = split or _official(rows, 1)
    sides = dict(split.cases)
    strays = sorted(set(images) - set(rows))
    if strays:
        raise UserError(f"{NAME}: image {str(images[strays[0]])!r} has no row in {str(_table(root))!r}")
    missing = sorted(set(sides) - {Path(name).stem for name in rows})
    if missing:
        raise UserError(f"{NAME}: case {missing[0]!r} of the split has no row in {str(_table(root))!r}")
    samples = []
    for number, (name, (label, _)) in enumerate(rows.items(), start=1):
        if name not in images:
            raise UserError(f"{NAME}: row {number} of {str(_table(root))!r} is of {name}, but no image is called so")
        folder = _class_of(images[name].parent.name)
        if folder != label:
            raise UserError(
                f"{NAME}: row {number} of {str(_table(root))!r} says {CLASSES[label]!r}, but its image is "
                f"{str(images[name])!r}"
            )
        if (case := Path(name).stem) in sides:
            samples.append(LabeledSample(case, sides[case], (FrameReference(images[name]),), label))
    return SampleDataset(NAME, root, TARGET, tuple(samples), split.name, split.source)


def fold_split(root: Path, fold: int) -> Split:
    """Official fold 1 or 2. Raises `UserError` for another one, or for what `scan` refuses of the table."""
    return _official(_read_table(root), fold)


def _official(rows: dict[str, tuple[int, str]], fold: int) -> Split:
    if fold not in _ORDER:
        raise UserError(f"{NAME} has the official folds 1 and 2, not {fold}")
    train, test = (tuple(Path(name).stem for name, (_, own) in rows.items() if own == i) for i in _ORDER[fold])
    source = f"official {TABLE} of simula/hyper-kvasir: split-index {' for training, '.join(_ORDER[fold])} for testing"
    return Split(f"fold_{fold}", source, train, (), test)


def _is_home(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() or all((folder / tract).is_dir() for tract in TRACTS)


def _table(root: Path) -> Path:
    """Where the table lies, or should."""
    beside = root / TABLE
    return beside if beside.is_file() else root / "official_splits" / TABLE


def _class_of(name: str) -> int | None:
    """Class id by any spelling; `None`: no class."""
    name = SPELLINGS.get(name, name)
    return CLASSES.index(name) if name in CLASSES else None


def _read_table(root: Path) -> dict[str, tuple[int, str]]:
    """Class id and split index by file name."""
    file = _table(root)
    if not file.is_file():
        raise UserError(
            f"{NAME}: {str(file)!r} is missing; it is not in the archive of images, copy it from "
            "https://github.com/simula/hyper-kvasir"
        )
    rows: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(read_rows(NAME, file, _COLUMNS, ";"), start=1):
        name, index = row["file-name"], row["split-index"]
        label = _class_of(row["class-name"])
        if label is None:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} has the class {row['class-name']!r}; "
                f"known are {', '.join(CLASSES)}"
            )
        if index not in ("0", "1"):
            raise UserError(f"{NAME}: row {number} of {str(file)!r} has split-index {index!r}; it is 0 or 1")
        if name in rows:
            raise UserError(f"{NAME}: row {number} of {str(file)!r} is the second one of {name}")
        rows[name] = label, index
    return rows


def _read_images(root: Path) -> dict[str, Path]:
    """Images by file name."""
    home = root / IMAGES if (root / IMAGES).is_dir() else root
    folders = [home / tract for tract in TRACTS]
    require_paths(NAME, folders)
    found = (path for folder in folders for path in folder.rglob("*"))
    paths = sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)
    name, count = Counter(path.name for path in paths).most_common(1)[0] if paths else ("", 0)
    if count > 1:
        one, other = [path for path in paths if path.name == name][:2]
        raise UserError(f"{NAME}: images {str(one)!r} and {str(other)!r} have the same name; one of them is expected")
    return {path.name: path for path in paths}


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="CC BY 4.0",
        obtain="https://osf.io/mh9sj, and https://github.com/simula/hyper-kvasir for official_splits",
        target=TARGET,
        find=find,
        scan=scan,
        fold=fold_split,
    )
)
