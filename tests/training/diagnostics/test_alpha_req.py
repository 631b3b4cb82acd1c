import math

import numpy as np
import pytest

from training.diagnostics.alpha_req import alpha_req


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5])
def test_finds_the_exponent_of_a_power_law_whatever_its_ends_are(alpha: float) -> None:
    ranks = np.arange(1, 101)
    eigenvalues = 7 * ranks**-alpha
    eigenvalues[:4] *= 3  # the first 5 % and the last half do not count
    eigenvalues[60:] *= 0.01
    assert alpha_req(eigenvalues) == pytest.approx(alpha)


def test_a_flat_spectrum_has_no_slope_and_few_ranks_none_to_speak_of() -> None:
    assert alpha_req(np.ones(20)) == pytest.approx(0)
    assert math.isnan(alpha_req(np.ones(8)))
    assert math.isnan(alpha_req(np.zeros(20)))
