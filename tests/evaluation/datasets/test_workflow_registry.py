import json

import pytest

import evaluation.datasets  # noqa: F401  (fills the registry)
from evaluation.datasets.workflow import SPLITS, WORKFLOW_DATASETS, load_split

NAMES = WORKFLOW_DATASETS.names()
SHIPPED = [
    (name, split)
    for name in NAMES
    for split in json.loads((SPLITS / f"{name}.json").read_text(encoding="utf-8"))["splits"]
]


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_has_a_default_split(name: str) -> None:
    reader = WORKFLOW_DATASETS.get(name)
    assert reader.name == name
    assert all((reader.licence, reader.obtain, reader.tracks))
    assert (name, load_split(name).name) in SHIPPED


@pytest.mark.parametrize(("name", "split"), SHIPPED)
def test_a_shipped_split_has_two_sides_a_source_and_each_case_once(name: str, split: str) -> None:
    shipped = load_split(name, split)
    assert all((shipped.train, shipped.test, shipped.source))
    cases = [case for case, _ in shipped.cases]
    assert len(set(cases)) == len(cases)
