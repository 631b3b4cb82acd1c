"""COCO-like files of phases and steps, as PSI-AVA and GraSP have them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

PHASES = ["Idle", "LPIL", "RPIL"]
STEPS = ["Idle", "Cut"]


def coco(
    frames: Mapping[str, Sequence[int]], phase: str, step: str, boxes: int = 1, digits: int = 5
) -> dict[str, list[dict[str, object]]]:
    """Frames by case, each with the same boxes; phase and step are 0 for the first frame of a case, then 2 and 1."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for case, numbers in frames.items():
        for place, number in enumerate(numbers):
            images.append({"id": 100 + len(images), "file_name": f"{case}/{number:0{digits}d}.jpg"})
            labels = {phase: 2 if place else 0, step: 1 if place else 0}
            annotations += [{"image_id": images[-1]["id"], "category_id": 1, **labels}] * boxes
    return {
        f"{phase}_categories": [{"id": i, "name": name} for i, name in enumerate(PHASES)],
        f"{step}_categories": [{"id": i, "name": name} for i, name in enumerate(STEPS)],
        "images": images,
        "annotations": annotations,
    }


def write_coco(path: Path, content: Mapping[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
