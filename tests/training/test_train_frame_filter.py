"""The entry that trains a classifier for the out-of-body filter."""

import sys

import cv2
import numpy as np
import pytest

from training.corpus.frame_classifier import open_frame_classifier
from training.errors import UserError
from training.train_frame_filter import main


def test_the_entry_prints_the_comparison_and_leaves_a_model(tmp_path, monkeypatch, capsys):
    for label, color in (("surgical", (50, 60, 180)), ("out_of_body", (150, 130, 60))):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(4):
            frame = np.full((40, 48, 3), color, np.uint8) + np.uint8(number)
            assert cv2.imwrite(str(tmp_path / "in" / label / f"v{number}_0.png"), frame)
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "steps=2", "batch_size=4", "image_size=32"]
    monkeypatch.setattr(sys, "argv", ["train_frame_filter", *words])
    main()
    printed = capsys.readouterr().out
    assert "training: 6 frames of 3 cases; held out: 2 frames of 1 cases" in printed
    assert [line.split()[0] for line in printed.splitlines()[-4:-1]] == ["classifier", "rule", "majority"]
    assert open_frame_classifier(str(tmp_path / "out")).label == 1
    with pytest.raises(UserError, match="is not empty; give a new folder for the model"):
        main()
