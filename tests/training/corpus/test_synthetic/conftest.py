"""Two tiny synthetic cases, rendered once for all tests of this folder."""

from pathlib import Path

import pytest

from training.corpus.synthetic import SyntheticDataset, SyntheticSettings, read_ground_truth, write_dataset


@pytest.fixture(scope="session")
def settings() -> SyntheticSettings:
    """One training and one test case of 18 frames with every kind of spoiled span."""
    return SyntheticSettings(
        cases_train=1,
        cases_test=1,
        seconds=3,
        width=128,
        height=96,
        annotation_fps=2,
        out_of_body_cases=1,
        black_cases=1,
        frozen_cases=1,
        workers=2,
    )


@pytest.fixture(scope="session")
def corpus(settings: SyntheticSettings, tmp_path_factory: pytest.TempPathFactory) -> SyntheticDataset:
    """The corpus of `settings` on disk, rendered by two processes."""
    folder: Path = tmp_path_factory.mktemp("synthetic") / "corpus"
    return read_ground_truth(write_dataset(folder, settings))
