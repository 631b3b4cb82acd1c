"""Files with the same bytes on two sides of a split."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from evaluation.datasets.recordings import IMAGE_SUFFIXES
from evaluation.datasets.workflow import SIDES
from evaluation.leakage.cases import Case, Cases
from evaluation.leakage.findings import Finding


def digest_of(path: Path) -> str:
    """SHA-256 of the bytes of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identical_files(dataset: Cases) -> list[Finding]:
    """One finding per pair of cases that have files in common; one for all if every test file is a validation file.

    Only files of equal size can be equal, so that no others are read. Images of one color are left out: CholecT50
    blanks frames outside the body, and all of these are the same file.
    """
    owners: dict[Path, Case] = {file: case for case in dataset.cases for file in case.files}
    copies: dict[tuple[str, str], list[tuple[Path, Path]]] = defaultdict(list)  # by pair of sides
    for group in _equal(owners):
        for one, other in combinations(sorted(group, key=lambda file: SIDES.index(owners[file].side)), 2):
            if owners[one].side != owners[other].side:
                copies[owners[one].side, owners[other].side].append((one, other))
    findings = []
    for (side, other_side), pairs in copies.items():
        if (side, other_side) == ("val", "test") and _covers(dataset, pairs):
            named = _named(dataset, pairs)
            findings.append(Finding("val equals test", dataset.dataset, "all files of both sides are the same", named))
            continue
        by_case: dict[tuple[str, str], list[tuple[Path, Path]]] = defaultdict(list)
        for one, other in pairs:
            by_case[owners[one].name, owners[other].name].append((one, other))
        for (case, other_case), own in by_case.items():
            message = f"{side} case {case!r} and {other_side} case {other_case!r}"
            findings.append(Finding("identical files", dataset.dataset, message, _named(dataset, own)))
    return findings


def _equal(owners: Mapping[Path, Case]) -> Iterable[list[Path]]:
    """Groups of files with equal bytes, of more than one side."""
    sizes: dict[int, list[Path]] = defaultdict(list)
    for file in owners:
        sizes[file.stat().st_size].append(file)
    for alike in sizes.values():
        if len({owners[file].side for file in alike}) < 2:
            continue
        digests: dict[str, list[Path]] = defaultdict(list)
        for file in alike:
            digests[digest_of(file)].append(file)
        for group in digests.values():
            if len({owners[file].side for file in group}) > 1 and not _is_blank(group[0]):
                yield group


def _is_blank(file: Path) -> bool:
    """Whether an image has one color only; False for what is no image."""
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError):
        return False  # broken, but a copy of another side's file all the same
    return bool((pixels == pixels[:1, :1]).all())


def _covers(dataset: Cases, pairs: Sequence[tuple[Path, Path]]) -> bool:
    """Whether the pairs hold all files of the validation and of the test side."""
    files = [{file for case in dataset.on(side) for file in case.files} for side in ("val", "test")]
    return files == [{one for one, _ in pairs}, {other for _, other in pairs}]


def _named(dataset: Cases, pairs: Iterable[tuple[Path, Path]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((dataset.place(one), dataset.place(other)) for one, other in pairs))
