"""The trained out-of-body classifier: labeled folder, training, the model folder, and its use in the filter."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus.filters import Picture
from training.corpus.filters.out_of_body import OutOfBodyFilter, OutOfBodySettings
from training.corpus.frame_classifier import FrameClassifier, open_frame_classifier
from training.corpus.frame_classifier_training import (
    FrameFilterSettings,
    LabeledFrame,
    measure,
    quality,
    read_labeled_folder,
    save_frame_classifier,
    split_by_case,
    train_frame_classifier,
)
from training.errors import UserError

COLORS = {"surgical": (180, 60, 50), "out_of_body": (60, 130, 150)}
SETTINGS = FrameFilterSettings(image_size=64, steps=30, batch_size=8)


def draw(label: str, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, (40, 56, 3))
    return np.clip(np.array(COLORS[label]) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> Path:
    """Three cases with two frames of each label."""
    root = tmp_path_factory.mktemp("labeled")
    for label in COLORS:
        (root / label).mkdir()
        for number in range(6):
            path = root / label / f"case{number % 3}_{number}.png"
            assert cv2.imwrite(str(path), cv2.cvtColor(draw(label, number), cv2.COLOR_RGB2BGR))
    return root


@pytest.fixture(scope="module")
def trained(labeled) -> FrameClassifier:
    return train_frame_classifier(read_labeled_folder(labeled, SETTINGS.case_pattern), SETTINGS)


@pytest.fixture(scope="module")
def model_folder(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "out"
    save_frame_classifier(trained, folder)
    return folder


def test_cases_are_never_split(labeled):
    frames = read_labeled_folder(labeled, SETTINGS.case_pattern)
    train, held_out = split_by_case(frames, 0.2)
    assert (len(train), len(held_out)) == (8, 4)
    assert not {frame.case for frame in train} & {frame.case for frame in held_out}


def test_quality_against_hand_counts():
    called, truth = np.array([True, True, False, False]), np.array([True, False, True, False])
    row = quality("x", called, np.array([True, False, True, True]))
    assert (row.accuracy, row.precision, row.recall) == (0.25, 0.5, pytest.approx(1 / 3))
    assert np.isnan(quality("x", np.zeros(4, bool), truth).precision)


def test_measured_beside_the_rule_and_the_majority(labeled, trained):
    rows = {row.name: row for row in measure(trained, read_labeled_folder(labeled, SETTINGS.case_pattern))}
    assert set(rows) == {"classifier", "rule", "majority"}
    assert rows["rule"].accuracy == 1.0
    assert rows["classifier"].accuracy == 1.0  # also in evaluation mode, after so few steps
    assert (rows["majority"].accuracy, rows["majority"].recall) == (0.5, 0.0)


def test_the_same_seed_trains_the_same_model(labeled, trained):
    again = train_frame_classifier(read_labeled_folder(labeled, SETTINGS.case_pattern), SETTINGS)
    frames = [draw("surgical", 9), draw("out_of_body", 9)]
    assert again.out_of_body(frames) == trained.out_of_body(frames)


def test_the_folder_is_whole_and_the_filter_scores_with_it(trained, model_folder):
    assert {path.name for path in model_folder.iterdir()} == {"config.json", "model.safetensors"}
    frames = [draw("surgical", 9), draw("out_of_body", 9)]
    judge = OutOfBodyFilter(OutOfBodySettings(model=str(model_folder)))
    assert judge.score([Picture(frame, 0.0) for frame in frames]) == pytest.approx(
        trained.out_of_body(frames), abs=1e-6
    )
    assert judge.score([]) == []


def test_folders_that_do_not_fit_are_refused(model_folder, tmp_path):
    config = json.loads((model_folder / "config.json").read_text())
    for name, changes, message in (
        (
            "labels",
            {"label_names": ["surgical", "other"]},
            "has no label 'out_of_body' in id2label, only: other, surgical",
        ),
        ("weights", {"architecture": "lcnet_035"}, "not of one model|is no image-classification model"),
        ("type", {"model_type": "bert"}, "is no image-classification model with its image processor"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        (folder / "model.safetensors").write_bytes((model_folder / "model.safetensors").read_bytes())
        with pytest.raises(UserError, match=message):
            open_frame_classifier(str(folder))


def test_a_used_folder_is_refused(trained, model_folder):
    with pytest.raises(UserError, match="is not empty; give a new folder for the model"):
        save_frame_classifier(trained, model_folder)


def test_labeled_folders_that_do_not_serve_are_refused(labeled, tmp_path):
    with pytest.raises(UserError, match="holds no images; the labeled folder needs surgical/ and out_of_body/"):
        read_labeled_folder(tmp_path, SETTINGS.case_pattern)
    with pytest.raises(UserError, match=r"does not find a case in this file name"):
        read_labeled_folder(labeled, r"^(?P<case>video\d+)")
    frames = [LabeledFrame(Path("a_1.png"), "surgical", "a"), LabeledFrame(Path("b_1.png"), "out_of_body", "b")]
    with pytest.raises(UserError, match="side has no frame labeled"):
        split_by_case(frames, 0.5)
    with pytest.raises(UserError, match="cannot be read"):
        train_frame_classifier(frames, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "setting steps=0 is too small: it must be at least 1"),
        ({"held_out_fraction": 1.0}, "setting held_out_fraction=1.0 must be between 0 and 1"),
        ({"case_pattern": "("}, "is no regular expression"),
        ({"case_pattern": "x"}, r"has no group \(\?P<case>"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(UserError, match=message):
        FrameFilterSettings(**changes)


def test_an_unknown_architecture_is_refused(labeled):
    frames = read_labeled_folder(labeled, SETTINGS.case_pattern)
    with pytest.raises(UserError, match="setting architecture='lcnet_999': timm cannot build it"):
        train_frame_classifier(frames, FrameFilterSettings(architecture="lcnet_999", image_size=32, steps=1))
