import numpy as np

from evaluation.backbones import ColorHistogram


def test_features_of_a_batch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    histogram = ColorHistogram()
    features = histogram.extract(images)
    assert features.summary.shape == (3, histogram.summary_width)
    assert features.dense.shape == (3, histogram.dense_width, 2, 3)
    assert (histogram.extract(images[1:2]).dense == features.dense[1:2]).all()
    histogram.check_size(40)


def test_identity_is_stable() -> None:
    assert ColorHistogram().identity == ColorHistogram().identity
