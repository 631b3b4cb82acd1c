import numpy as np

from training.report.dense_pca import CELL_WIDTH, GAP, HEADER, compose, pca_colors


def test_components_come_in_the_order_of_their_variance_with_fixed_signs() -> None:
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


def test_colors_do_not_depend_on_the_sign_or_rotation_of_the_feature_space() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.gamma(1.0, (4.0, 2.0, 1.0, 0.1), size=(200, 4))
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    plain, turned, negated = (
        pca_colors([each.T.reshape(4, 10, 20)])[0] for each in (tokens, tokens @ rotation, -tokens)
    )
    np.testing.assert_allclose(turned, plain, atol=1e-9)
    np.testing.assert_allclose(negated, plain, atol=1e-9)


def test_constant_tokens_give_a_picture() -> None:
    assert np.isfinite(pca_colors([np.ones((4, 3, 3))])[0]).all()


def test_rows_keep_the_aspect_ratio_of_their_frame() -> None:
    images = [np.zeros((100, 200, 3), np.uint8), np.full((400, 200, 3), 255, np.uint8)]
    picture = compose(images, {"model": [np.zeros((5, 10, 3)), np.ones((10, 5, 3))]})
    assert picture.size == (2 * CELL_WIDTH + GAP, HEADER + 160 + GAP + 320)


def test_long_names_stay_inside_their_column() -> None:
    image, colors = np.zeros((20, 20, 3), np.uint8), np.zeros((2, 2, 3))
    picture = compose([image], {"teacher " + "long_name_" * 20: [colors], "x": [colors]})
    gap = np.asarray(picture)[:HEADER, 2 * CELL_WIDTH : 2 * CELL_WIDTH + GAP]
    assert (gap == 255).all()
