import math

import numpy as np
import pytest

from training.diagnostics.cka import debiased_cka, gram

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6))


def test_by_hand() -> None:
    # Four frames, K pairs (0,1), L pairs (0,1) and (2,3). tr(KL) = 2, 1K1 = 2, 1L1 = 4, 1KL1 = 2, n = 4:
    # HSIC(K,L) = (2 + 8/6 - 2) / 4 = 1/3; HSIC(K,K) = (2 + 4/6 - 2) / 4 = 1/6; HSIC(L,L) = (4 + 16/6 - 4) / 4 = 2/3.
    K, L = np.eye(4), np.eye(4)
    K[0, 1] = K[1, 0] = L[0, 1] = L[1, 0] = L[2, 3] = L[3, 2] = 1
    assert debiased_cka(K, L) == pytest.approx((1 / 3) / math.sqrt(1 / 6 * 2 / 3))


def test_rotation_and_scale_do_not_matter() -> None:
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert debiased_cka(gram(X), gram(3 * X @ rotation + 5)) == pytest.approx(1)


def test_unrelated_wide_features_score_nothing_where_the_plain_estimator_scores_much() -> None:
    first, second = (gram(rng.standard_normal((40, 500))) for _ in range(2))
    plain = (first * second).sum() / math.sqrt((first**2).sum() * (second**2).sum())
    assert plain > 0.9
    assert abs(debiased_cka(first, second)) < 0.1


def test_a_frame_is_never_compared_with_its_copy() -> None:
    K, L = gram(X), gram(rng.standard_normal((40, 6)))
    changed = K + np.diag(np.full(40, 1e6))
    rows = np.repeat(np.arange(20), 2)
    assert debiased_cka(changed, L, rows) == pytest.approx(debiased_cka(K, L, rows))


def test_constant_features_and_few_frames() -> None:
    assert math.isnan(debiased_cka(gram(X), gram(np.ones((40, 6)))))
    with pytest.raises(ValueError, match="needs at least 4 frames, got 3"):
        debiased_cka(gram(X), gram(X), np.arange(3))
