import numpy as np

from evaluation.backbones import Features
from evaluation.feature_store.encoding import encode, from_half, to_half


def test_pooled_and_coarse_tokens_by_hand() -> None:
    dense = np.arange(2 * 1 * 8 * 4, dtype=np.float32).reshape(2, 1, 8, 4)
    rows = encode(Features(np.zeros((2, 0), np.float32), dense), np.array([False, True]), np.array([True, False]))
    assert rows["summary"].shape == (2, 0)
    assert rows["mean_dense"].tolist() == [[15.5], [47.5]]
    assert rows["coarse"].shape == (1, 1, 4, 4)
    # The coarse cell (0, 0) of the second frame holds 32 and 36, its greatest deviation from 47.5 is 34 - 47.5.
    assert rows["coarse_scale"].tolist() == [[13.5]]
    assert rows["coarse"][0, 0, 0, 0] == -1
    assert rows["dense"].shape == (1, 1, 8, 4)
    assert rows["dense_scale"].tolist() == [[15.5]]
    assert from_half(rows["dense"], rows["dense_scale"], rows["mean_dense"][:1])[0, 0, 0, 0] == 0


def test_error_is_bounded_whatever_the_scale_and_the_mean() -> None:
    generator = np.random.default_rng(0)
    spread = np.float32([1e-30, 1e-3, 1, 1e30])[:, None, None]
    tokens = generator.standard_normal((3, 4, 14, 14)).astype(np.float32) * spread
    center = tokens.mean(axis=(2, 3))
    stored, scale = to_half(tokens, center)
    back = from_half(stored, scale, center)
    deviation = np.abs(tokens - center[:, :, None, None])
    bound = (
        2.0**-11 * deviation + 2.0**-25 * scale[:, :, None, None] + 2.0**-22 * np.abs(tokens)
    )  # float32's own rounding
    assert (np.abs(back - tokens) <= bound).all()
    assert np.abs(back - tokens).max() > 0


def test_constant_tokens_are_exact() -> None:
    tokens = np.full((1, 2, 3, 3), 7.25, np.float32)
    stored, scale = to_half(tokens, tokens.mean(axis=(2, 3)))
    assert scale.tolist() == [[1, 1]]
    assert (from_half(stored, scale, tokens.mean(axis=(2, 3))) == tokens).all()


def test_neither_batch_nor_order_changes_a_bit() -> None:
    generator = np.random.default_rng(1)
    features = Features(
        generator.standard_normal((6, 5)).astype(np.float32), generator.standard_normal((6, 7, 9, 9)).astype(np.float32)
    )
    has = np.ones(6, bool)
    together = encode(features, has, has)
    order = [4, 0, 5]
    # Transposed memory, as a network leaves it that computes with channels last.
    turned = np.ascontiguousarray(features.dense[order].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    apart = encode(Features(features.summary[order], turned), has[:3], has[:3])
    for name, rows in together.items():
        np.testing.assert_array_equal(apart[name], rows[order])
