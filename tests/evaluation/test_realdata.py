"""Genuine Endoscapes frames, where ZEN_REALDATA names the folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets import endoscapes
from evaluation.datasets.endoscapes import cvs_labels

REALDATA = os.environ.get("ZEN_REALDATA", "")

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REALDATA, reason="endoscapes-seg50: ZEN_REALDATA is not set"),
]


def test_counts() -> None:
    home = endoscapes.find(Path(REALDATA))
    assert home is not None
    dataset = endoscapes.scan(home)
    train, test = ([r for r in dataset.records if r.split == side] for side in ("train", "test"))
    assert (len(train), len({record.case_id for record in train})) == (338, 30)
    assert (len(test), len({record.case_id for record in test})) == (74, 10)
    presence = np.array([record.presence for record in train]).sum(axis=0)
    assert dict(zip(dataset.presence_names, presence.tolist(), strict=True)) == {
        "cystic_plate": 145,
        "calot_triangle": 114,
        "cystic_artery": 202,
        "cystic_duct": 256,
        "gallbladder": 335,
        "tool": 322,
    }
    met = [np.array([cvs_labels(record) for record in side]).sum(axis=0).tolist() for side in (train, test)]
    assert met == [[65, 51, 83], [8, 10, 10]]
