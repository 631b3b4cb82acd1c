"""Few-shot lists: the three fixed subsets of k training cases, or of k images of each class, that everybody uses.

python -m evaluation.few_shot        writes `evaluation/splits/few_shot.json` anew, after a split was added or changed

The rule needs no random generator and gives the same on every machine: subset s takes what comes first in the order of
SHA-256 of "dataset/split/s/case", s being 1, 2 or 3. So the subset of one case lies within that of two of the same
number, and so on. `few_shot.json` has the result for every shipped split, for those who use no code of this package.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from evaluation.datasets.samples import Target
from evaluation.datasets.workflow import SPLITS, load_split
from training.corpus.atomic import replacing
from training.errors import UserError, run_entry

FEW_SHOT_FILE = SPLITS / "few_shot.json"
SUBSETS = 3  # the field's number; mean and standard deviation over them go into the table
CASE_SHOTS = (1, 2, 4, 8)  # training cases of a dataset of videos, as EndoViT reports 2, 4 and 8
IMAGE_SHOTS = (1, 5, 10)  # images of each class of a dataset of stills, as few-shot classification reports them
_RULE = "the k-case subset s is the first k of list s: train cases in order of SHA-256 of 'dataset/split/s/case'"


def few_case_subsets(dataset: str, split: str, cases: Sequence[str], count: int) -> tuple[tuple[str, ...], ...]:
    """Subsets 1 to `SUBSETS` of training cases.

    Args:
        dataset: its name, as in the registries.
        split: its name.
        cases: of the train side, in any order; repeated ones count once.
        count: of cases in a subset, k; with all of them the subsets differ in order only.

    Raises:
        UserError: fewer cases than that.
    """
    distinct = set(cases)
    if not 1 <= count <= len(distinct):
        raise UserError(
            f"few-shot with {count} cases: split {split!r} of {dataset} has {len(distinct)} training cases; "
            f"give 1 to {len(distinct)}"
        )
    return tuple(tuple(_ordered(dataset, split, subset, distinct)[:count]) for subset in _numbers())


def few_image_rows(
    dataset: str, split: str, ids: Sequence[str], targets: np.ndarray, count: int
) -> tuple[np.ndarray, ...]:
    """Rows of subsets 1 to `SUBSETS` of training images, k of each class.

    Args:
        dataset: its name, as in the registries.
        split: its name.
        ids: of each training image, each once and the same on every machine: its path within the dataset.
        targets: int64 (N,), class ids.
        count: of images of each class, k; a class that has fewer gives all it has.

    Returns:
        int64 (M,) per subset, ascending row numbers.

    Raises:
        ValueError: targets that are not one class per image, ids that are not one per image, or a repeated one.
        UserError: a count below 1.
    """
    if targets.ndim != 1 or len(ids) != len(targets) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(ids)} ids, {len(set(ids))} of them different, for targets of shape {targets.shape}")
    if count < 1:
        raise UserError(f"few-shot with {count} images of each class of {dataset}; give 1 or more")
    row_of = {name: row for row, name in enumerate(ids)}
    members = [[ids[row] for row in np.flatnonzero(targets == label).tolist()] for label in np.unique(targets)]
    found = []
    for subset in _numbers():
        names = [name for own in members for name in _ordered(dataset, split, subset, own)[:count]]
        found.append(np.array(sorted(row_of[name] for name in names), dtype=np.int64))
    return tuple(found)


def missing_classes(target: Target, targets: np.ndarray, rows: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Names of the classes that samples of the train side have but none of a subset has.

    Such a subset is used all the same, as everybody's; the score says what it costs.

    Args:
        target: "single" or "multi".
        targets: of the whole train side, as `Target.check` wants them.
        rows: of the subset.

    Raises:
        ValueError: a target of kind "value", which has no classes.
    """
    if target.kind == "value":
        raise ValueError(f"target {target.name} holds values; no class can be missing")
    target.check(targets)
    of_classes = np.arange(len(target.classes))
    there = targets if target.kind == "multi" else targets[:, None] == of_classes  # bool (N, C)
    missing = there.any(axis=0) & ~there[np.asarray(rows, dtype=np.int64)].any(axis=0)
    return tuple(target.classes[label] for label in np.flatnonzero(missing))


def shipped_lists() -> dict[str, dict[str, list[list[str]]]]:
    """By dataset and split, for every file of `evaluation/splits`: the order of each subset, up to the largest k."""
    lists: dict[str, dict[str, list[list[str]]]] = {}
    for file in sorted(SPLITS.glob("*.json")):
        if file.name == FEW_SHOT_FILE.name:
            continue
        lists[file.stem] = {}
        for name in json.loads(file.read_text(encoding="utf-8"))["splits"]:
            cases = load_split(file.stem, name).train
            subsets = few_case_subsets(file.stem, name, cases, min(max(CASE_SHOTS), len(set(cases))))
            lists[file.stem][name] = [list(subset) for subset in subsets]
    return lists


def write_few_shot(path: Path = FEW_SHOT_FILE) -> Path:
    """Write `few_shot.json`, atomically: one line per subset."""
    blocks = []
    for dataset, splits in shipped_lists().items():
        rows = []
        for name, subsets in splits.items():
            lines = ",\n".join(f"        {json.dumps(subset)}" for subset in subsets)
            rows.append(f"      {json.dumps(name)}: [\n{lines}\n      ]")
        blocks.append(f"    {json.dumps(dataset)}: {{\n" + ",\n".join(rows) + "\n    }")
    head = f'{{\n  "rule": {json.dumps(_RULE)},\n  "shots": {json.dumps(CASE_SHOTS)},\n  "datasets": {{\n'
    with replacing(path) as temporary:
        temporary.write_text(head + ",\n".join(blocks) + "\n  }\n}\n", encoding="utf-8")
    return path


def _numbers() -> range:
    return range(1, SUBSETS + 1)


def _ordered(dataset: str, split: str, subset: int, names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{dataset}/{split}/{subset}/{name}".encode()).hexdigest())


def main() -> None:
    """Write the file and say where it lies."""
    print(f"few-shot lists: {write_few_shot()}")


if __name__ == "__main__":
    run_entry(main)
