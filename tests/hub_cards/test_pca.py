"""The picture of dense tokens: right shape, right sizes of frames, the same at every call."""

import numpy as np
import pytest
import torch

from hub_cards.pca import dense_pca_picture, legal_size
from training.corpus.corpus import Corpus
from training.report.dense_pca import CELL_WIDTH, GAP, HEADER
from training.teachers import TeacherOutput, TeacherSpec


@pytest.mark.parametrize(
    ("height", "width", "multiple", "legal"),
    [(480, 854, 16, (256, 448)), (854, 480, 16, (448, 256)), (352, 352, 14, (448, 448)), (10, 1000, 16, (16, 448))],
)
def test_legal_size(height, width, multiple, legal):
    assert legal_size(height, width, multiple, 448) == legal


def test_picture_of_a_model_is_the_same_at_every_call(files):
    corpus = Corpus.open(files.corpus)
    first = dense_pca_picture(files.run / "hub", corpus, frames=3)
    again = dense_pca_picture(files.run / "hub", corpus, frames=3)
    assert first is not None
    assert again is not None
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.size == (3 * CELL_WIDTH + 2 * GAP, HEADER + 3 * 240 + 2 * GAP)
    assert first.columns == ("student", "random init")
    assert {clip.split for clip in first.clips} == {"held_out"}
    assert {clip.case_id for clip in first.clips} == {"h1", "h2"}
    assert first.note.endswith("Frames: videos (CC BY 4.0).")
    pixels = np.asarray(first.image)
    student, random = (pixels[HEADER:, start : start + CELL_WIDTH] for start in (328, 656))
    assert not np.array_equal(student, random)


class FakeTeacher:
    """Dense tokens are the mean color of each 32 px cell and its square; remembers which sizes it was asked for."""

    def __init__(self, fixed_size=None) -> None:
        self.sizes: set[tuple[int, int]] = set()
        self.spec = TeacherSpec(
            name="tiny",
            repo="tiny",
            kind="map",
            summary="none",
            dense=True,
            patch_size=32,
            min_size=64,
            max_size=320,
            size_multiple=32,
            roles=("dense",),
            licence="mit",
            source="a test",
            fixed_size=fixed_size,
        )

    def __call__(self, images, size):
        assert images.shape == (1, 3, *size)
        assert 0 <= images.min() <= images.max() <= 1
        self.sizes.add(size)
        cells = torch.nn.functional.avg_pool2d(images, 32)
        return TeacherOutput(summary=None, dense=torch.cat([cells, cells**2], dim=1))


@pytest.mark.parametrize(("fixed_size", "size"), [(None, (320, 320)), ((128, 96), (128, 96))])
def test_a_teacher_is_shown_at_its_nearest_legal_size(files, fixed_size, size):
    teacher = FakeTeacher(fixed_size)
    picture = dense_pca_picture(files.run / "hub", Corpus.open(files.corpus), teacher, frames=2)
    assert picture is not None
    assert picture.columns == ("student", "random init", "teacher tiny")
    assert picture.image.size[0] == 4 * CELL_WIDTH + 3 * GAP
    assert teacher.sizes == {size}


def test_no_held_out_case_no_picture(files):
    corpus = Corpus.open(files.corpus)
    seen = Corpus(corpus.storage, corpus.clips("train"), corpus.fingerprint)
    assert dense_pca_picture(files.run / "hub", seen) is None
