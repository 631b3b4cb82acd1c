"""Pipelines of transformers, offline from a saved folder: heads of transformers on a ZEN trunk, and ZEN's own heads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import pipeline

from modeling_zen import (
    ZenConfig,
    ZenForDepthEstimation,
    ZenForImageClassification,
    ZenForSemanticSegmentation,
    ZenImageProcessor,
)
from modeling_zen.head_families import HEAD_FAMILIES, head_config, head_processor, start_depth
from modeling_zen.trunk import load_trunk

from .conftest import SMALL_HEADS, TINY

FRAME = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
NAMES = {0: "grasper", 1: "hook", 2: "clipper"}


def save_head(family: str, trunk_folder: Path, folder: Path) -> Any:
    """A tiny head with its processor in a folder, as a user would make it."""
    fields = {name: value for name, value in SMALL_HEADS[family].items() if name != "num_labels"}
    names: dict[str, Any] = {} if "num_labels" not in SMALL_HEADS[family] else {"id2label": NAMES}
    config = head_config(family, trunk_folder, **fields, **names)
    torch.manual_seed(0)
    model = load_trunk(getattr(transformers, HEAD_FAMILIES[family].model)(config), trunk_folder).eval()
    if family == "dpt":
        start_depth(model, 60.0)
    model.save_pretrained(folder)
    head_processor(family, trunk_folder).save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", [name for name in HEAD_FAMILIES if "det" in name or name == "d_fine"])
def test_object_detection(family: str, trunk_folder: Path, tmp_path: Path) -> None:
    model = save_head(family, trunk_folder, tmp_path)
    detect: Any = pipeline("object-detection", model=str(tmp_path), device="cpu")
    assert type(detect.image_processor).__name__ == HEAD_FAMILIES[family].processor
    found = detect(FRAME, threshold=0.0)
    assert found
    assert {detection["label"] for detection in found} <= set(NAMES.values())
    assert set(found[0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}
    # The same by hand.
    processor = head_processor(family, trunk_folder)
    with torch.no_grad():
        outputs = model(**processor(images=[FRAME], return_tensors="pt"))
    [expected] = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(90, 120)])
    assert [detection["score"] for detection in found] == expected["scores"].tolist()


def test_instances_by_mask2former(trunk_folder: Path, tmp_path: Path) -> None:
    save_head("mask2former", trunk_folder, tmp_path)
    segment: Any = pipeline("image-segmentation", model=str(tmp_path), device="cpu")
    for subtask in ("semantic", "instance", "panoptic"):
        for found in segment(FRAME, subtask=subtask, threshold=0.0):
            assert found["mask"].size == (120, 90)
            assert found["label"] in NAMES.values()
    regions = segment(FRAME, subtask="semantic")
    assert sum(np.asarray(region["mask"]) > 0 for region in regions).min() == 1  # every pixel has a class


def test_regions_by_upernet(trunk_folder: Path, tmp_path: Path) -> None:
    save_head("upernet", trunk_folder, tmp_path)
    segment: Any = pipeline("image-segmentation", model=str(tmp_path), device="cpu")
    covered = sum(np.asarray(region["mask"], dtype=int) // 255 for region in segment(FRAME))
    assert covered.shape == (90, 120)
    assert np.all(covered == 1)


@pytest.mark.parametrize("family", ["dpt", "depth_anything", "zoedepth"])
def test_depth(family: str, trunk_folder: Path, tmp_path: Path) -> None:
    model = save_head(family, trunk_folder, tmp_path)
    estimate: Any = pipeline("depth-estimation", model=str(tmp_path), device="cpu")
    depth = estimate(FRAME)
    assert depth["predicted_depth"].shape == (90, 120)
    assert depth["depth"].size == (120, 90)
    with torch.no_grad():
        own = model(head_processor(family, trunk_folder)(images=FRAME, return_tensors="pt")["pixel_values"])
    assert depth["predicted_depth"].mean().item() == pytest.approx(own.predicted_depth.mean().item(), rel=0.01)


def save_own(head_class: Any, folder: Path, **fields: Any) -> Any:
    torch.manual_seed(0)
    model = head_class(ZenConfig(**{**TINY, "layerscale_value": 1.0, **fields})).eval()
    model.save_pretrained(folder)
    ZenImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return model


def pixels_of_frame() -> torch.Tensor:
    return ZenImageProcessor(size={"height": 64, "width": 64})(FRAME, return_tensors="pt")["pixel_values"]


def test_our_classifier(tmp_path: Path) -> None:
    model = save_own(ZenForImageClassification, tmp_path, id2label=NAMES)
    classify: Any = pipeline("image-classification", model=str(tmp_path), device="cpu")
    assert type(classify.model) is ZenForImageClassification
    with torch.no_grad():
        expected = model(pixels_of_frame()).logits.softmax(-1)[0]
    answers = classify(FRAME)
    assert {answer["label"] for answer in answers} == set(NAMES.values())
    assert answers[0]["label"] == NAMES[int(expected.argmax())]
    assert answers[0]["score"] == pytest.approx(expected.max().item())


def test_our_classifier_of_several_labels(tmp_path: Path) -> None:
    """Sigmoid instead of softmax, as the config says: the scores of three tools need not add up to 1."""
    model = save_own(ZenForImageClassification, tmp_path, id2label=NAMES, problem_type="multi_label_classification")
    classify: Any = pipeline("image-classification", model=str(tmp_path), device="cpu")
    with torch.no_grad():
        expected = model(pixels_of_frame()).logits.sigmoid()[0]
    scores = {answer["label"]: answer["score"] for answer in classify(FRAME)}
    assert scores == {name: pytest.approx(expected[index].item()) for index, name in NAMES.items()}


def test_our_segmentation(tmp_path: Path) -> None:
    model = save_own(ZenForSemanticSegmentation, tmp_path, id2label=NAMES)
    segment: Any = pipeline("image-segmentation", model=str(tmp_path), device="cpu")
    regions = {region["label"]: np.asarray(region["mask"]) > 0 for region in segment(FRAME)}
    with torch.no_grad():
        outputs = model(pixels_of_frame())
    [expected] = ZenImageProcessor().post_process_semantic_segmentation(outputs, target_sizes=[(90, 120)])
    for index, name in NAMES.items():
        assert np.array_equal(regions.get(name, np.zeros((90, 120), dtype=bool)), (expected == index).numpy())


def test_our_depth(tmp_path: Path) -> None:
    model = save_own(ZenForDepthEstimation, tmp_path)
    estimate: Any = pipeline("depth-estimation", model=str(tmp_path), device="cpu")
    depth = estimate(FRAME)
    assert depth["predicted_depth"].shape == (90, 120)
    assert depth["depth"].size == (120, 90)
    with torch.no_grad():
        outputs = model(pixels_of_frame())
    [expected] = ZenImageProcessor().post_process_depth_estimation(outputs, [(90, 120)])
    torch.testing.assert_close(depth["predicted_depth"], expected["predicted_depth"])
