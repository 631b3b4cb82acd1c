from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.errors import UserError
from training.teachers.hadamard import hadamard
from training.teachers.normalizer import MODES, FeatureNormalizer

WIDTH = 8


def correlated(count: int, width: int = WIDTH, seed: int = 0) -> Tensor:
    """Vectors with a mean of about 3 and a covariance whose eigenvalues span four orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
    scales = torch.logspace(0, -2, width, dtype=torch.float64)
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return noise * scales @ mixing.T + 3


def calibrated(mode: str, vectors: Tensor) -> FeatureNormalizer:
    normalizer = FeatureNormalizer(vectors.shape[-1], mode)
    normalizer.update(vectors)
    normalizer.freeze()
    return normalizer


def test_standardize_by_hand() -> None:
    # Coordinate 0: fifty 0s and fifty 2s, mean 1, variance 1. Coordinate 1: 10 and 14, mean 12, variance 4.
    vectors = torch.tensor([[0.0, 10.0], [2.0, 14.0]]).repeat(50, 1)
    normalizer = calibrated("standardize", vectors)
    assert normalizer.mean.tolist() == [1, 12]
    assert normalizer.spectrum.tolist() == [4, 1]
    assert normalizer(torch.tensor([3.0, 12.0])).tolist() == [2, 0]
    assert normalizer.inverse(torch.tensor([2.0, 0.0])).tolist() == [3, 12]


def test_phi_s_by_hand() -> None:
    # Variances 4 and 0 along the axes: Λ = (4, 0), α = 1/√2, U = 1, H = [[1, 1], [1, -1]] / √2.
    vectors = torch.tensor([[-2.0, 5.0], [2.0, 5.0]]).repeat(3, 1)
    normalizer = calibrated("phi_s", vectors)
    assert normalizer.spectrum.tolist() == pytest.approx([4, 0])
    assert normalizer.mean.tolist() == [0, 5]
    # (2, 5) - μ = (2, 0) -> H (2, 0) = (√2, √2) -> α: (1, 1)
    assert normalizer(torch.tensor([2.0, 5.0])).tolist() == pytest.approx([1, 1])
    # (0, 7) - μ = (0, 2) -> (√2, -√2) -> (1, -1)
    assert normalizer(torch.tensor([0.0, 7.0])).tolist() == pytest.approx([1, -1])


def test_phi_s_on_a_known_covariance() -> None:
    # y = μ ± 2·√λ_i along four orthogonal axes u_i, so Σ = U·Λ·Uᵀ with Λ = (16, 4, 1, 0.25); mean(Λ) = 85/16.
    # The u_i are the columns of a 4 x 4 Hadamard matrix / 2.
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    axes, variances = signs / 2, torch.tensor([16, 4, 1, 0.25], dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 3.0, 50.0], dtype=torch.float64)
    steps = (2 * variances.sqrt() * axes).T  # one axis a row
    normalizer = calibrated("phi_s", torch.cat([mean + steps, mean - steps]))
    torch.testing.assert_close(normalizer.spectrum, variances)
    torch.testing.assert_close(normalizer.mean, mean)
    # μ + √λ_i·u_i -> α·√λ_i·H·e_i, column i of H times √(16/85·λ_i): every coordinate gets the same share of every axis
    for number, (axis, variance) in enumerate(zip(axes.T, variances, strict=True)):
        mapped = normalizer((mean + variance.sqrt() * axis).float())
        expected = (16 / 85 * variance).sqrt() * hadamard(4)[:, number]
        assert mapped.abs().tolist() == pytest.approx(expected.abs().tolist(), rel=1e-5)
        assert mapped.abs().tolist() == pytest.approx([float((16 / 85 * variance).sqrt()) / 2] * 4, rel=1e-5)
        along = abs(float(mapped.double() @ expected)) / float(expected.square().sum())
        assert along == pytest.approx(1, rel=1e-5)  # the column itself, up to the sign of the eigenvector


@pytest.mark.parametrize("mode", ["standardize", "phi_s"])
def test_every_coordinate_has_variance_one_and_a_constant_prediction_scores_one(mode: str) -> None:
    vectors = correlated(500)
    normalized = calibrated(mode, vectors)(vectors).double()
    assert normalized.mean(dim=0).abs().max() < 1e-4
    torch.testing.assert_close(normalized.var(dim=0, correction=0), torch.ones(WIDTH).double(), rtol=1e-3, atol=0)
    assert normalized.square().mean().item() == pytest.approx(1, abs=1e-3)


def test_phi_s_is_a_rotation_times_one_number() -> None:
    vectors = correlated(500)
    normalizer = calibrated("phi_s", vectors)
    gram = normalizer.transform @ normalizer.transform.T
    alpha = gram[0, 0]
    torch.testing.assert_close(gram, alpha * torch.eye(WIDTH).double(), rtol=0, atol=1e-10)
    # so centred cosines survive
    centered = vectors[:5] - normalizer.mean
    before = nn.functional.cosine_similarity(centered[:1], centered[1:])
    after = normalizer(vectors[:5])
    torch.testing.assert_close(
        nn.functional.cosine_similarity(after[:1], after[1:]).double(), before, rtol=1e-4, atol=0
    )


def test_the_spectrum_is_that_of_the_covariance_largest_first() -> None:
    vectors = correlated(500)
    normalizer = calibrated("phi_s", vectors)
    expected = torch.linalg.eigvalsh(torch.cov(vectors.T, correction=0)).flip(0)
    torch.testing.assert_close(normalizer.spectrum, expected)
    assert (normalizer.spectrum >= 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_streaming_in_pieces_equals_one_shot(mode: str) -> None:
    vectors = correlated(400) + 1000  # a large mean, where naive sums of squares lose their digits
    whole = calibrated(mode, vectors)
    pieces = FeatureNormalizer(WIDTH, mode)
    for part in vectors.split([1, 7, 92, 300]):
        pieces.update(part)
    pieces.freeze()
    assert pieces.count == whole.count == 400
    torch.testing.assert_close(pieces.mean, whole.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(pieces.spectrum, whole.spectrum, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(pieces.transform, whole.transform, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_merging_ranks_equals_one_shot(mode: str) -> None:
    vectors = correlated(300)
    ranks = [FeatureNormalizer(WIDTH, mode) for _ in range(3)]
    for rank, part in zip(ranks, vectors.split([100, 20, 180]), strict=True):
        rank.update(part)
    untouched = ranks[1].scatter.clone()
    ranks[0].merge(ranks[1])
    ranks[0].merge(ranks[2])
    ranks[0].merge(FeatureNormalizer(WIDTH, mode))  # a rank that saw nothing
    assert torch.equal(ranks[1].scatter, untouched)
    ranks[0].freeze()
    whole = calibrated(mode, vectors)
    torch.testing.assert_close(ranks[0].mean, whole.mean)
    torch.testing.assert_close(ranks[0].transform, whole.transform, rtol=1e-6, atol=1e-6)


def test_merging_strangers_is_refused() -> None:
    first = FeatureNormalizer(WIDTH, "center")
    for other in (
        FeatureNormalizer(WIDTH, "none"),
        FeatureNormalizer(4, "center"),
        calibrated("center", correlated(5)),
    ):
        with pytest.raises(ValueError, match="cannot merge"):
            first.merge(other)


def test_masked_vectors_do_not_count() -> None:
    vectors = correlated(40).view(4, 10, WIDTH)
    mask = torch.zeros(4, 10, dtype=torch.bool)
    mask[:, :6] = True
    spoiled = vectors.clone()
    spoiled[~mask] = float("nan")
    normalizer = FeatureNormalizer(WIDTH, "phi_s")
    normalizer.update(spoiled, mask)
    normalizer.update(spoiled, torch.zeros_like(mask))
    normalizer.freeze()
    assert normalizer.count == 24
    torch.testing.assert_close(normalizer.mean, vectors[mask].mean(dim=0))


@pytest.mark.parametrize("mode", MODES)
def test_inverse_undoes_the_map(mode: str) -> None:
    vectors = correlated(200)
    normalizer = calibrated(mode, vectors)
    some = vectors[:6].view(2, 3, WIDTH).float()
    torch.testing.assert_close(normalizer.inverse(normalizer(some)), some, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_folding_into_the_last_layer_is_exact(mode: str, bias: bool) -> None:
    normalizer = calibrated(mode, correlated(200))
    linear = nn.Linear(5, WIDTH, bias=bias, dtype=torch.float64)
    inputs = torch.randn(4, 5, dtype=torch.float64)
    kept = linear.weight.clone()
    folded = normalizer.fold_into(linear)
    transform = normalizer.transform if mode == "phi_s" else torch.diag(normalizer.transform)
    offset = torch.zeros(WIDTH).double() if mode == "none" else normalizer.mean
    with torch.no_grad():
        # forward map applied to the folded layer gives the head's own output back
        back = (folded(inputs) - offset) @ transform.T
        torch.testing.assert_close(back, linear(inputs), rtol=0, atol=1e-11)
    assert torch.equal(linear.weight, kept)
    with pytest.raises(ValueError, match="the layer gives 3 features"):
        normalizer.fold_into(nn.Linear(5, 3))


def test_a_dead_coordinate_is_not_blown_up() -> None:
    vectors = correlated(200)
    vectors[:, 2] = 7
    normalizer = calibrated("standardize", vectors)
    other = vectors[:1].clone()
    other[0, 2] += 0.01
    assert normalizer(other).abs().max() < 100
    torch.testing.assert_close(normalizer.inverse(normalizer(other)).double(), other, rtol=1e-4, atol=1e-4)


def test_center_in_the_normalized_space() -> None:
    vectors = correlated(100)
    for mode in MODES:
        normalizer = calibrated(mode, vectors)
        torch.testing.assert_close(normalizer(vectors).mean(dim=0), normalizer.center(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "count", "floor"), [("center", 0, 1), ("standardize", 99, 100), ("phi_s", 2 * WIDTH - 1, 2 * WIDTH)]
)
def test_too_small_a_calibration_is_refused(mode: str, count: int, floor: int) -> None:
    normalizer = FeatureNormalizer(WIDTH, mode)
    normalizer.update(correlated(count))
    with pytest.raises(UserError, match=f"calibrated on {count} vectors, but needs at least {floor} .*more frames"):
        normalizer.freeze()
    normalizer.update(correlated(floor - count))
    normalizer.freeze()


@pytest.mark.parametrize("mode", ["standardize", "phi_s"])
def test_constant_features_are_refused(mode: str) -> None:
    normalizer = FeatureNormalizer(WIDTH, mode)
    normalizer.update(torch.ones(200, WIDTH))
    with pytest.raises(UserError, match="the features are the same in all 200 calibration vectors"):
        normalizer.freeze()


def test_nan_in_calibration_is_refused() -> None:
    spoiled = correlated(10)
    spoiled[3, 2] = float("inf")
    with pytest.raises(UserError, match="NaN or infinite"):
        FeatureNormalizer(WIDTH, "center").update(spoiled)


def test_unknown_modes_list_the_right_ones() -> None:
    with pytest.raises(
        UserError, match=r"unknown normalizer 'phis'. Did you mean 'phi_s'\? Known: center, none, phi_s"
    ):
        FeatureNormalizer(WIDTH, "phis")


def test_an_impossible_width_is_refused_before_calibration() -> None:
    with pytest.raises(UserError, match="no Hadamard matrix of width 6"):
        FeatureNormalizer(6, "phi_s")


def test_order_of_calls_and_shapes() -> None:
    normalizer = FeatureNormalizer(WIDTH, "center")
    with pytest.raises(RuntimeError, match="not frozen yet"):
        normalizer(torch.ones(1, WIDTH))
    with pytest.raises(RuntimeError, match="not frozen yet"):
        normalizer.fingerprint()
    with pytest.raises(ValueError, match=r"width 8 expected .*\(1, 3\)"):
        normalizer.update(torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"valid_mask must be bool \(2,\)"):
        normalizer.update(torch.ones(2, WIDTH), torch.ones(2))
    normalizer.update(torch.ones(1, WIDTH))
    normalizer.freeze()
    for call in (normalizer.freeze, lambda: normalizer.update(torch.ones(1, WIDTH))):
        with pytest.raises(RuntimeError, match="is frozen"):
            call()


@pytest.mark.parametrize("mode", MODES)
def test_state_dict_restores_a_frozen_normalizer(mode: str) -> None:
    original = calibrated(mode, correlated(200))
    parent = nn.ModuleDict({"normalizer": FeatureNormalizer(WIDTH, mode)})
    parent.load_state_dict({f"normalizer.{key}": value for key, value in original.state_dict().items()}, strict=True)
    restored = parent["normalizer"]
    assert isinstance(restored, FeatureNormalizer)
    assert restored.fingerprint() == original.fingerprint()
    some = correlated(3, seed=1)
    assert torch.equal(restored(some), original(some))
    assert not any(parameter.requires_grad for parameter in restored.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_save_and_load(mode: str, tmp_path: Path) -> None:
    original = calibrated(mode, correlated(200))
    original.save(tmp_path / "n.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["n.safetensors"]
    restored = FeatureNormalizer.load(tmp_path / "n.safetensors")
    assert (restored.mode, restored.describe()) == (mode, original.describe())
    assert restored.describe()["count"] == 200
    some = correlated(3, seed=1)
    assert torch.equal(restored(some), original(some))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "n.safetensors"
    calibrated("phi_s", correlated(200)).save(file)
    tensors = load_file(file)
    with pytest.raises(UserError, match=r"is not a saved feature normalizer"):
        FeatureNormalizer.load(tmp_path / "missing.safetensors")
    other = tmp_path / "other.safetensors"
    save_file(tensors, other)
    with pytest.raises(UserError, match=r"is not a saved feature normalizer"):
        FeatureNormalizer.load(other)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1  # one bit of one tensor
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"fingerprint .*damaged"):
        FeatureNormalizer.load(file)
    file.write_bytes(bytes(content[:200]))
    with pytest.raises(UserError, match=r"is not a saved feature normalizer"):
        FeatureNormalizer.load(file)


def test_computes_in_float32_whatever_the_caller_casts_to() -> None:
    normalizer = calibrated("phi_s", correlated(200))
    some = correlated(3, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = normalizer(some)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, normalizer(some))


def test_casts_and_devices_leave_the_statistics_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = nn.ModuleDict({"normalizer": calibrated("phi_s", correlated(200)), "head": nn.Linear(2, 2)})
    some = correlated(3, seed=1)
    expected = parent["normalizer"](some)
    parent.to(torch.bfloat16)
    assert parent["head"].weight.dtype == torch.bfloat16
    assert parent["normalizer"].transform.dtype == torch.float64
    assert torch.equal(parent["normalizer"](some), expected)
    # a device without float64, played by "meta": the statistics stay where they are
    monkeypatch.setattr("training.teachers.normalizer.WITHOUT_FLOAT64", {"meta"})
    parent.to("meta")
    assert parent["head"].weight.device.type == "meta"
    assert torch.equal(parent["normalizer"](some), expected)


def test_two_orders_of_the_data_give_the_same_map() -> None:
    vectors = correlated(300)
    shuffled = vectors[torch.randperm(300, generator=torch.Generator().manual_seed(3))]
    first, second = calibrated("phi_s", vectors), calibrated("phi_s", shuffled)
    torch.testing.assert_close(first.transform, second.transform, rtol=1e-6, atol=1e-8)
