import json

import pytest

import evaluation.datasets  # noqa: F401  (fills the registry)
from evaluation.datasets.samples import SAMPLE_DATASETS
from evaluation.datasets.workflow import SPLITS, load_split

NAMES = SAMPLE_DATASETS.names()
SHIPPED = [
    (name, split)
    for name in NAMES
    if (SPLITS / f"{name}.json").is_file()
    for split in json.loads((SPLITS / f"{name}.json").read_text(encoding="utf-8"))["splits"]
]


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_says_what_it_is(name: str) -> None:
    reader = SAMPLE_DATASETS.get(name)
    assert reader.name == name
    assert all((reader.licence, reader.obtain, reader.target.name, reader.target.classes))


@pytest.mark.parametrize(("name", "split"), SHIPPED)
def test_a_shipped_split_has_two_sides_a_source_and_each_case_once(name: str, split: str) -> None:
    shipped = load_split(name, split)
    assert all((shipped.train, shipped.test, shipped.source))
    cases = [case for case, _ in shipped.cases]
    assert len(set(cases)) == len(cases)
