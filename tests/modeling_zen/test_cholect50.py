"""The triplets of CholecT50: consistent in themselves, and those of the dataset."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from modeling_zen import ZenConfig, ZenForActionTriplet
from modeling_zen.cholect50 import CHOLECT50, INSTRUMENTS, TARGETS, VERBS

REALDATA = os.environ.get("ZEN_REALDATA", "")

needs_realdata = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REALDATA, reason="CholecT50 annotations: ZEN_REALDATA is not set"),
]


def names(triplet: list[int]) -> tuple[str, str, str]:
    instrument, verb, target = triplet
    return INSTRUMENTS[instrument], VERBS[verb], TARGETS[target]


def test_the_map_is_consistent() -> None:
    triplets = CHOLECT50["triplets"]
    assert (len(INSTRUMENTS), len(VERBS), len(TARGETS), len(triplets)) == (6, 10, 15, 100)
    assert len({tuple(triplet) for triplet in triplets}) == 100
    for part, labels in enumerate((INSTRUMENTS, VERBS, TARGETS)):
        assert {triplet[part] for triplet in triplets} == set(range(len(labels)))
        assert len(set(labels)) == len(labels)
    # nothing is done to nothing, once per instrument, and these classes are the last
    idle = [triplet for triplet in triplets if names(triplet)[1] == "null_verb" or names(triplet)[2] == "null_target"]
    assert idle == triplets[94:] == [[instrument, 9, 14] for instrument in range(6)]


def test_classes_everyone_quotes() -> None:
    """The two most frequent triplets of the dataset (arXiv:2109.03223), and one of each later block."""
    triplets = CHOLECT50["triplets"]
    assert names(triplets[17]) == ("grasper", "retract", "gallbladder")
    assert names(triplets[60]) == ("hook", "dissect", "gallbladder")
    assert names(triplets[30]) == ("bipolar", "coagulate", "omentum")
    assert names(triplets[79]) == ("clipper", "clip", "cystic_duct")
    assert names(triplets[82]) == ("irrigator", "aspirate", "fluid")
    assert names(triplets[94]) == ("grasper", "null_verb", "null_target")
    assert Counter(names(triplet)[0] for triplet in triplets) == {
        "grasper": 23,
        "bipolar": 25,
        "hook": 20,
        "scissors": 13,
        "clipper": 6,
        "irrigator": 13,
    }


def test_it_configures_a_model() -> None:
    config = ZenConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=32, **CHOLECT50)
    model = ZenForActionTriplet(config).eval()
    outputs = model(torch.zeros(1, 3, 32, 32))
    assert [outputs[name].shape[1] for name in ("logits", "instrument_logits", "verb_logits", "target_logits")] == [
        100,
        6,
        10,
        15,
    ]
    assert model.config.num_labels == 100
    assert model.config.label2id["hook,dissect,gallbladder"] == 60


class TestRealData:
    pytestmark = needs_realdata
    folder = Path(REALDATA) / "annotations"

    def test_the_map_is_the_official_one(self) -> None:
        text = (self.folder / "cholect-ivt-maps" / "maps.txt").read_text(encoding="utf-8")
        rows = [[int(cell) for cell in line.split(",")] for line in text.splitlines() if not line.startswith("#")]
        assert [row[1:4] for row in rows] == CHOLECT50["triplets"]
        assert [row[0] for row in rows] == list(range(100))

    def test_parts_follow_from_triplets(self) -> None:
        """In genuine annotations an instrument, verb or target is present where a triplet with it is."""
        table = {}
        for part in ("triplet", "instrument", "verb", "target"):
            with (self.folder / "cholect50-txt" / part / "VID73.txt").open(encoding="utf-8", newline="") as file:
                table[part] = torch.tensor([[int(cell) for cell in row[1:]] for row in csv.reader(file)])
        index = torch.tensor(CHOLECT50["triplets"]).T
        for part, parts in zip(("instrument", "verb", "target"), index, strict=True):
            present = torch.zeros_like(table[part]).index_add(1, parts, table["triplet"]) > 0
            assert torch.equal(present, table[part] > 0)
