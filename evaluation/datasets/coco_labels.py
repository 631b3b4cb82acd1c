"""Phases and steps in the COCO-like JSON files of PSI-AVA and GraSP: ids and names by the categories of the file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.datasets.dataset import read_json, require_paths
from evaluation.datasets.workflow import UNLABELED, Track
from training.errors import UserError

_IMAGE = re.compile(r"(CASE\d+)/(\d+)\.\w+")


@dataclass(frozen=True)
class CaseLabels:
    """Labels of one case.

    Attributes:
        file: where they come from.
        frames: int64 (N,), as in the names of the images, ascending.
        labels: by name of the track: int64 (N,), indices into its classes.
    """

    file: Path
    frames: np.ndarray
    labels: Mapping[str, np.ndarray]


def read_cases(
    noun: str, files: Sequence[Path], fields: Mapping[str, str]
) -> tuple[tuple[Track, ...], dict[str, CaseLabels]]:
    """Tracks and labels by case of all files.

    Images without annotation are left out. The annotations of an image, one for each box, repeat its phase and step.

    Args:
        noun: name of the dataset, for messages.
        files: with different cases and the same categories.
        fields: by name of the track, the key of its id in an annotation; its categories are `KEY_categories`.

    Raises:
        UserError: a missing file or key, categories that differ between files, an unknown id, two ids for one image, or
            a case in two files.
    """
    require_paths(noun, files)
    tracks: tuple[Track, ...] | None = None
    cases: dict[str, CaseLabels] = {}
    for file in files:
        content = read_json(noun, file)
        indices = {name: _categories(noun, file, content, f"{field}_categories") for name, field in fields.items()}
        own = tuple(Track(name, tuple(class_name for class_name, _ in indices[name].values())) for name in fields)
        if tracks not in (None, own):
            raise UserError(f"{noun}: the categories of {str(file)!r} are not those of {str(files[0])!r}")
        tracks = own
        by_id = {name: {number: index for number, (_, index) in table.items()} for name, table in indices.items()}
        for case, labels in _by_case(noun, file, content, fields, by_id).items():
            if case in cases:
                raise UserError(f"{noun}: {str(cases[case].file)!r} and {str(file)!r} are both of case {case!r}")
            cases[case] = labels
    return tracks or (), cases


def case_labels(noun: str, case: str, cases: Mapping[str, CaseLabels], files: Sequence[Path]) -> CaseLabels:
    """Labels of a case of the split; `UserError` if no file has it."""
    if case not in cases:
        places = " and ".join(repr(str(file)) for file in files)
        raise UserError(f"{noun}: case {case!r} of the split is not in {places}")
    return cases[case]


def _categories(noun: str, file: Path, content: Mapping[str, Any], key: str) -> dict[int, tuple[str, int]]:
    """Name and index by category id, in order of ids."""
    try:
        names = {int(category["id"]): str(category["name"]) for category in content[key]}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{noun}: {str(file)!r} has no list {key!r} of objects with 'id' and 'name'") from error
    return {number: (names[number], index) for index, number in enumerate(sorted(names))}


def _by_case(
    noun: str,
    file: Path,
    content: Mapping[str, Any],
    fields: Mapping[str, str],
    by_id: Mapping[str, Mapping[int, int]],
) -> dict[str, CaseLabels]:
    images = _images(noun, file, content)
    found: dict[str, dict[int, dict[str, int]]] = {}
    annotations = content.get("annotations")
    if not isinstance(annotations, list):
        raise UserError(f"{noun}: {str(file)!r} has no list 'annotations'")
    for row, annotation in enumerate(annotations, start=1):
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        if not isinstance(image, int) or image not in images:
            raise UserError(f"{noun}: annotation {row} of {str(file)!r} has no 'image_id' of an image of the file")
        case, frame = images[image]
        labels = found.setdefault(case, {}).setdefault(frame, {})
        for name, field in fields.items():
            value = annotation.get(field)
            known = {UNLABELED: UNLABELED, **by_id[name]}
            index = known.get(value) if isinstance(value, int) else None
            if index is None:
                raise UserError(
                    f"{noun}: annotation {row} of {str(file)!r} has {field} {value!r}; "
                    f"known are {', '.join(map(str, by_id[name]))}"
                )
            if labels.setdefault(name, index) != index:
                raise UserError(
                    f"{noun}: annotation {row} of {str(file)!r} has {field} {value}, "
                    f"another annotation of {case}, frame {frame}, does not"
                )
    return {case: _case_labels(file, frames, list(fields)) for case, frames in found.items()}


def _images(noun: str, file: Path, content: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Case and frame by image id."""
    images: dict[int, tuple[str, int]] = {}
    listed = content.get("images")
    for row, image in enumerate(listed if isinstance(listed, list) else [None], start=1):
        name = image.get("file_name") if isinstance(image, dict) else None
        match = _IMAGE.fullmatch(name) if isinstance(name, str) else None
        if match is None or not isinstance(image.get("id"), int):
            raise UserError(
                f"{noun}: image {row} of {str(file)!r} lacks a numeric 'id' "
                "or a 'file_name' of the form CASE001/00001.jpg"
            )
        images[image["id"]] = (match[1], int(match[2]))
    return images


def _case_labels(file: Path, frames: Mapping[int, Mapping[str, int]], names: Sequence[str]) -> CaseLabels:
    numbers = sorted(frames)
    labels = {name: np.array([frames[number][name] for number in numbers], np.int64) for name in names}
    return CaseLabels(file, np.array(numbers, np.int64), labels)
