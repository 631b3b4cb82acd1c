"""The picture of dense tokens: right colors for tokens that are known, right shape, the same at every call."""

import numpy as np
import pytest
import torch

from hub_cards.pca import CELL_WIDTH, GAP, HEADER, compose, dense_pca_picture, legal_size, pca_colors
from training.corpus.corpus import Corpus
from training.teachers import TeacherOutput, TeacherSpec


def test_components_come_in_the_order_of_their_variance_with_fixed_signs():
    # Tokens on three axes of a rotated space: 9, 4 and 1 are their spreads; one sample far out on each fixes the sign.
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    coordinates = rng.normal(size=(400, 3)) * (9.0, 4.0, 1.0)
    coordinates[:4] = [[60, 0, 0], [0, 30, 0], [0, 0, 8], [0, 0, 0]]
    tokens = coordinates @ basis[:3]
    grids = [tokens[:300].T.reshape(8, 15, 20), tokens[300:].T.reshape(8, 10, 10)]
    first, second = pca_colors(grids)
    assert first.shape == (15, 20, 3)
    assert second.shape == (10, 10, 3)
    colors = np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
    for axis in range(3):
        inner = (colors[:, axis] > 0) & (colors[:, axis] < 1)
        assert np.corrcoef(colors[inner, axis], coordinates[inner, axis])[0, 1] > 0.98
    assert colors[:3].argmax(axis=1).tolist() == [0, 1, 2]


def test_colors_do_not_depend_on_the_sign_or_rotation_of_the_feature_space():
    rng = np.random.default_rng(1)
    tokens = rng.gamma(1.0, (4.0, 2.0, 1.0, 0.1), size=(200, 4))
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    plain, turned, negated = (
        pca_colors([each.T.reshape(4, 10, 20)])[0] for each in (tokens, tokens @ rotation, -tokens)
    )
    np.testing.assert_allclose(turned, plain, atol=1e-9)
    np.testing.assert_allclose(negated, plain, atol=1e-9)


def test_constant_tokens_give_a_picture():
    assert np.isfinite(pca_colors([np.ones((4, 3, 3))])[0]).all()


@pytest.mark.parametrize(
    ("height", "width", "multiple", "legal"),
    [(480, 854, 16, (256, 448)), (854, 480, 16, (448, 256)), (352, 352, 14, (448, 448)), (10, 1000, 16, (16, 448))],
)
def test_legal_size(height, width, multiple, legal):
    assert legal_size(height, width, multiple, 448) == legal


def test_rows_keep_the_aspect_ratio_of_their_frame():
    images = [np.zeros((100, 200, 3), np.uint8), np.full((400, 200, 3), 255, np.uint8)]
    picture = compose(images, {"model": [np.zeros((5, 10, 3)), np.ones((10, 5, 3))]})
    assert picture.size == (2 * CELL_WIDTH + GAP, HEADER + 160 + GAP + 320)


def test_long_names_stay_inside_their_column():
    image, colors = np.zeros((20, 20, 3), np.uint8), np.zeros((2, 2, 3))
    picture = compose([image], {"teacher " + "long_name_" * 20: [colors], "x": [colors]})
    gap = np.asarray(picture)[:HEADER, 2 * CELL_WIDTH : 2 * CELL_WIDTH + GAP]
    assert (gap == 255).all()


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
