import math
from typing import Any

import pytest
import torch

from training.errors import UserError
from training.teachers.cache.codecs import CODECS, Codec, Statistics
from training.teachers.cache.settings import CacheConfig


def fitted(form: str, features: torch.Tensor, components: int = 4) -> Any:
    codec: Codec = CODECS.get(form)(features.shape[1], components)
    statistics = Statistics(features.shape[1], codec.mode)
    for part in features.split(3):
        statistics.update(part)
    statistics.finish()
    codec.fit(statistics)
    return codec


def spread(count: int, *scales: float) -> torch.Tensor:
    """Features (count, D, 2, 3) whose channels are independent with these deviations."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, len(scales), 2, 3, generator=generator) * torch.tensor(scales).view(1, -1, 1, 1)


def test_fp16_is_the_nearest_half() -> None:
    codec = fitted("fp16", spread(4, 1, 1))
    features = torch.tensor([[1 + 2**-11 + 2**-13, -1e9]])
    assert codec.decode(codec.encode(features)).tolist() == [[1 + 2**-10, -65504.0]]


def test_int8_by_hand() -> None:
    # Channel 0 ranges from -1 to 3: middle 1, reach 2 and a tenth, so a step is 2.2 / 127. Channel 1 is constant.
    codec = fitted("int8", torch.tensor([[-1.0, 7.0], [3.0, 7.0]]))
    stored = codec.encode(torch.tensor([[1.0, 7.0], [3.0, 7.0], [-1.0, 7.0], [50.0, 7.0]]))
    assert stored.dtype == torch.int8
    assert stored.tolist() == [[0, 0], [115, 0], [-115, 0], [127, 0]]
    step = 2.2 / 127
    expected = torch.tensor([[1.0, 7.0], [1 + 115 * step, 7.0], [1 - 115 * step, 7.0], [3.2, 7.0]])
    torch.testing.assert_close(codec.decode(stored), expected)


def test_int8_errs_by_half_a_step_at_most() -> None:
    features = spread(20, 0.1, 3.0, 40.0)
    codec = fitted("int8", features)
    error = (codec.decode(codec.encode(features)) - features).abs()
    assert bool((error <= codec.scale.view(1, -1, 1, 1) * 0.5001).all())


def test_phi_s_keeps_the_plane_with_the_most_variance() -> None:
    features = spread(400, 0.1, 5.0, 1.0, 0.2) + 3
    codec = fitted("phi_s", features, components=2)
    assert codec.encode(features).shape == (400, 2, 2, 3)
    vectors = features.movedim(1, -1).reshape(-1, 4).double()
    mean = vectors.mean(dim=0)
    _, singular, directions = torch.linalg.svd(vectors - mean, full_matrices=False)
    plane = directions[:2]
    expected = (vectors - mean) @ plane.T @ plane + mean
    found = codec.decode(codec.encode(features)).movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-3)  # half precision of values up to 15
    energy = float(singular[:2].square().sum() / singular.square().sum())
    assert codec.facts() == {"components": 2, "energy": pytest.approx(energy)}
    # in the scale of PHI-S: the mean variance over all four coordinates is 1, so that of the first two is 2 x energy
    kept = codec.encode(features).float().var(dim=(0, 2, 3)).mean()
    assert float(kept) == pytest.approx(2 * energy, rel=1e-2)


def test_phi_s_with_all_components_loses_only_half_precision() -> None:
    features = spread(50, 2.0, 1.0, 3.0, 1.0)
    codec = fitted("phi_s", features, components=100)
    assert codec.stored_width == 4
    assert codec.facts()["energy"] == pytest.approx(1)
    torch.testing.assert_close(codec.decode(codec.encode(features)), features, rtol=0, atol=1e-2)


@pytest.mark.parametrize("form", CODECS.names())
def test_tokens_are_kept_each_on_its_own(form: str) -> None:
    features = spread(20, 1.0, 2.0, 3.0, 4.0)
    codec = fitted(form, features)
    whole = codec.decode(codec.encode(features))
    order = torch.randperm(20)
    torch.testing.assert_close(codec.decode(codec.encode(features[order])), whole[order])
    torch.testing.assert_close(codec.decode(codec.encode(features[..., :1])), whole[..., :1])
    summaries = features[:, :, 0, 0]
    torch.testing.assert_close(codec.decode(codec.encode(summaries)), whole[:, :, 0, 0])


@pytest.mark.parametrize("form", CODECS.names())
def test_a_state_dict_holds_a_codec_and_bytes_are_those_of_what_is_kept(form: str) -> None:
    features = spread(20, 1.0, 2.0, 3.0, 4.0)
    codec = fitted(form, features, components=3)
    copy = CODECS.get(form)(4, 3)
    copy.load_state_dict(codec.state_dict(), strict=True)
    stored = codec.encode(features)
    assert torch.equal(copy.encode(features), stored)
    assert torch.equal(copy.decode(stored), codec.decode(stored))
    assert codec.num_bytes((4, 2, 3)) == stored[0].nbytes
    assert codec.num_bytes((4,)) == math.prod((codec.stored_width,)) * stored.element_size()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "fp8"}, r"unknown cache form 'fp8'\. Known: fp16, int8, phi_s"),
        ({"components": 0}, r"cache\.components must be at least 1, got 0"),
        ({"shard_mb": 0}, r"cache\.shard_mb must be at least 1, got 0"),
        ({"calibration_frames": -1}, r"cache\.calibration_frames must be at least 1, got -1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CacheConfig(**settings)
