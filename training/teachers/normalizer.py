"""A teacher's feature space made comparable with the others': calibrated once, frozen, saved, and invertible."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.distributed import gather
from training.errors import UserError
from training.registry import unknown_name
from training.teachers.hadamard import hadamard

MODES = ("none", "center", "standardize", "phi_s")

# Below this many vectors the statistics are noise: 100 give a standard deviation to 7 %, and a covariance of width D
# from fewer than 2·D vectors is nearly singular.
MIN_COUNT_STANDARDIZE = 100
MIN_COUNT_PER_WIDTH_PHI_S = 2
# What to aim at: published recipes calibrate on at least 50·D vectors.
RECOMMENDED_COUNT_PER_WIDTH = 50
# Devices without float64: there the statistics stay on the CPU and the map is sent over as float32.
WITHOUT_FLOAT64 = {"mps"}
# A coordinate (nearly) constant in calibration must not be blown up: its std counts as at least 0.001 of the rms std.
MIN_VARIANCE_SHARE = 1e-6


class FeatureNormalizer(nn.Module):
    """Normalises feature vectors y of width D, after `update`s on calibration data and one `freeze`.

    - `none`: z = y
    - `center`: z = y - μ
    - `standardize`: z = (y - μ) / σ per coordinate
    - `phi_s`: z = α·H·Uᵀ·(y - μ), with the covariance Σ = U·Λ·Uᵀ, H an orthonormal Hadamard matrix and
      α = mean(Λ)^(-1/2): a rotation times one number, after which every coordinate has variance 1 (PHI-S,
      arXiv 2410.01680)

    Statistics are streamed in float64 and merged pairwise (Chan, Golub & LeVeque 1979). Everything that the map needs
    is a buffer, so a state dict holds a frozen normaliser completely; running statistics are dropped by `freeze`.

    Attributes:
        count: calibration vectors seen, int64 scalar.
        mean: μ, float64 `(D,)`.
        transform: α·H·Uᵀ as float64 `(D, D)` for `phi_s`; 1/σ as float64 `(D,)` otherwise (ones without scaling).
        spectrum: eigenvalues of Σ (`phi_s`) or variances per coordinate, float64 `(D,)`, largest first.
        frozen: 1 after `freeze`, uint8 scalar.
    """

    def __init__(self, dim: int, mode: str) -> None:
        """`UserError` for an unknown mode and for a width without a Hadamard matrix (`phi_s`)."""
        super().__init__()
        if mode not in MODES:
            raise unknown_name("normalizer", mode, MODES)
        if mode == "phi_s":
            hadamard(dim)  # refuse an impossible width now, not after hours of calibration
        self.dim = dim
        self.mode = mode
        shape = (dim, dim) if mode == "phi_s" else (dim,)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("transform", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("spectrum", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.uint8))
        # Σ (y - μ)(y - μ)ᵀ for phi_s, its diagonal otherwise; only during calibration.
        self.register_buffer("scatter", torch.zeros(shape, dtype=torch.float64), persistent=False)
        self.count: Tensor
        self.mean: Tensor
        self.transform: Tensor
        self.spectrum: Tensor
        self.frozen: Tensor
        self.scatter: Tensor
        # The same fact as `frozen` without reading from the device; a loaded state dict refreshes it.
        self._is_frozen = False
        self.register_load_state_dict_post_hook(_refresh_frozen)

    @property
    def is_frozen(self) -> bool:
        """Whether calibration has ended."""
        return self._is_frozen

    @property
    def min_count(self) -> int:
        """Vectors `freeze` insists on."""
        floors = {"none": 0, "center": 1, "standardize": MIN_COUNT_STANDARDIZE}
        return floors.get(self.mode, MIN_COUNT_PER_WIDTH_PHI_S * self.dim)

    @torch.no_grad()
    def update(self, features: Tensor, valid_mask: Tensor | None = None) -> None:
        """Add calibration vectors.

        Args:
            features: `(..., D)`, any float type.
            valid_mask: bool `(...)`; vectors where it is false are ignored.

        Raises:
            UserError: NaN or infinite values among the valid vectors.
            ValueError: another width or mask shape.
            RuntimeError: already frozen.
        """
        if self._is_frozen:
            raise RuntimeError("this normalizer is frozen; calibrate a new one")
        self._check_width(features)
        vectors = features.reshape(-1, self.dim)  # (..., D) -> (N, D)
        if valid_mask is not None:
            if valid_mask.shape != features.shape[:-1] or valid_mask.dtype != torch.bool:
                raise ValueError(
                    f"valid_mask must be bool {tuple(features.shape[:-1])}, got {valid_mask.dtype} "
                    f"{tuple(valid_mask.shape)}"
                )
            vectors = vectors[valid_mask.reshape(-1)]
        if len(vectors) == 0:
            return
        vectors = vectors.to(self.mean.device).double()
        mean = vectors.mean(dim=0)
        if not bool(mean.isfinite().all()):
            raise UserError("the features to calibrate on hold NaN or infinite values; look at the teacher's input")
        centered = vectors - mean
        scatter = centered.T @ centered if self.mode == "phi_s" else centered.square().sum(dim=0)
        self._absorb(len(vectors), mean, scatter)

    @torch.no_grad()
    def merge(self, other: "FeatureNormalizer") -> None:
        """Add the statistics of another, not yet frozen normaliser (of another rank, say). The other stays as it is."""
        if (self.dim, self.mode) != (other.dim, other.mode) or self._is_frozen or other._is_frozen:
            raise ValueError(f"cannot merge {other} into {self}: same width and mode, and neither frozen, are needed")
        device = self.mean.device
        self._absorb(int(other.count), other.mean.to(device), other.scatter.to(device))

    @torch.no_grad()
    def merge_processes(self) -> None:
        """Put together the statistics of all processes of a run, in the order of their ranks: equal bits on each."""
        parts = gather((int(self.count), self.mean.cpu(), self.scatter.cpu()))
        if len(parts) > 1:
            for buffer in (self.count, self.mean, self.scatter):
                buffer.zero_()
            for count, mean, scatter in parts:
                self._absorb(count, mean.to(self.mean.device), scatter.to(self.mean.device))

    @torch.no_grad()
    def freeze(self) -> None:
        """End calibration and fix the map.

        Raises:
            UserError: too few vectors, or features without any variance.
            RuntimeError: already frozen.
        """
        if self._is_frozen:
            raise RuntimeError("this normalizer is frozen already")
        count = int(self.count)
        if count < self.min_count:
            raise UserError(
                f"normalizer {self.mode!r} of width {self.dim} was calibrated on {count} vectors, but needs at least "
                f"{self.min_count} (better {RECOMMENDED_COUNT_PER_WIDTH * self.dim}); calibrate on more frames"
            )
        scatter = self.scatter / max(count, 1)
        variances = scatter.diagonal() if self.mode == "phi_s" else scatter
        if self.mode in ("standardize", "phi_s") and float(variances.mean()) <= 0:
            raise UserError(
                f"normalizer {self.mode!r} of width {self.dim}: the features are the same in all {count} calibration "
                "vectors; look at the teacher's input"
            )
        if self.mode == "phi_s":
            self.spectrum.copy_(self._freeze_phi_s(scatter))
        else:
            self.spectrum.copy_(variances.sort(descending=True).values)
            floor = MIN_VARIANCE_SHARE * variances.mean()
            scaled = variances.clamp(min=floor).rsqrt() if self.mode == "standardize" else torch.ones_like(variances)
            self.transform.copy_(scaled)
        self.scatter = torch.zeros(0, dtype=torch.float64, device=self.mean.device)
        self.frozen.fill_(1)
        self._is_frozen = True

    def forward(self, features: Tensor) -> Tensor:
        """Normalised features, float32 `(..., D)` like the input `(..., D)`. `RuntimeError` before `freeze`."""
        self._check_frozen()
        self._check_width(features)
        if self.mode == "none":
            return features.float()
        with torch.autocast(features.device.type, enabled=False):
            mean, transform = (_as_float32(tensor, features) for tensor in (self.mean, self.transform))
            centered = features.float() - mean
            return centered @ transform.T if self.mode == "phi_s" else centered * transform

    def inverse(self, normalized: Tensor) -> Tensor:
        """The teacher's own features, float32 `(..., D)`, for normalised ones. `RuntimeError` before `freeze`."""
        self._check_frozen()
        self._check_width(normalized)
        if self.mode == "none":
            return normalized.float()
        with torch.autocast(normalized.device.type, enabled=False):
            mean, backward = (_as_float32(tensor, normalized) for tensor in (self.mean, self._backward()))
            scaled = normalized.float() @ backward.T if self.mode == "phi_s" else normalized.float() * backward
            return scaled + mean

    @torch.no_grad()
    def fold_into(self, linear: nn.Linear) -> nn.Linear:
        """A head's last layer that speaks the teacher's own space: `inverse(linear(x))` in one layer.

        For phi_s W' = (1/α)·U·Hᵀ·W and b' = (1/α)·U·Hᵀ·b + μ, computed in float64; the given layer stays as it is.

        Raises:
            ValueError: the layer's output is not of width D.
            RuntimeError: not frozen yet.
        """
        self._check_frozen()
        if linear.out_features != self.dim:
            raise ValueError(f"the layer gives {linear.out_features} features, this normalizer has width {self.dim}")
        weight = linear.weight.double()
        bias = torch.zeros_like(weight[:, 0]) if linear.bias is None else linear.bias.double()
        if self.mode != "none":
            backward = self._backward().to(weight.device)
            matrix = backward if self.mode == "phi_s" else torch.diag(backward)
            weight, bias = matrix @ weight, matrix @ bias + self.mean.to(weight.device)
        folded = nn.Linear(linear.in_features, self.dim, device=linear.weight.device, dtype=linear.weight.dtype)
        folded.weight.copy_(weight)
        folded.bias.copy_(bias)
        return folded

    def center(self) -> Tensor:
        """The calibration mean in the normalised space, float32 `(D,)`: the best constant prediction under MSE."""
        self._check_frozen()
        return self.mean.float() if self.mode == "none" else torch.zeros_like(self.mean, dtype=torch.float32)

    def fingerprint(self) -> str:
        """SHA-256 over mode, width, count, mean and transform: equal if and only if the maps are."""
        self._check_frozen()
        digest = hashlib.sha256(f"{self.mode} {self.dim} {int(self.count)}".encode())
        for tensor in (self.mean, self.transform):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Facts for the run record, JSON-able: mode, width, count, participation ratio of the spectrum, fingerprint."""
        self._check_frozen()
        total, squares = float(self.spectrum.sum()), float(self.spectrum.square().sum())
        return {
            "mode": self.mode,
            "width": self.dim,
            "count": int(self.count),
            "participation_ratio": total**2 / squares if squares > 0 else 0.0,
            "fingerprint": self.fingerprint(),
        }

    def save(self, file: Path) -> None:
        """Write the frozen normaliser as safetensors; complete or not there at all."""
        self._check_frozen()
        facts = {"mode": self.mode, "width": str(self.dim), "fingerprint": self.fingerprint()}
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in self.state_dict().items()}
        draft = file.with_name(f".{file.name}.tmp")
        save_file(tensors, draft, metadata={"normalizer": json.dumps(facts)})
        draft.replace(file)

    @classmethod
    def load(cls, file: Path) -> "FeatureNormalizer":
        """Read what `save` wrote; `UserError` for another or a damaged file."""
        try:
            with safe_open(file, framework="pt") as opened:
                facts = json.loads(opened.metadata()["normalizer"])
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
            normalizer = cls(int(facts["width"]), facts["mode"])
            normalizer.load_state_dict(tensors, strict=True)
            intact = normalizer._is_frozen and normalizer.fingerprint() == facts["fingerprint"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{file} is not a saved feature normalizer: {error}") from error
        if not intact:
            raise UserError(f"{file}: its tensors do not have the fingerprint it was saved with; it is damaged")
        return normalizer

    def extra_repr(self) -> str:
        """Shown in the module's text."""
        return f"dim={self.dim}, mode={self.mode!r}, count={int(self.count)}, frozen={self._is_frozen}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FeatureNormalizer":
        """Follow a move to another device, but keep float64 whatever type is asked for."""
        device = fn(torch.empty(0, device=self.mean.device)).device
        if device.type in WITHOUT_FLOAT64:
            return self
        return super()._apply(lambda tensor: tensor.to(device), recurse)

    def _absorb(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        """Chan's pairwise merge: S = S₁ + S₂ + δδᵀ·n₁n₂/n and μ = μ₁ + δ·n₂/n with δ = μ₂ - μ₁."""
        total = int(self.count) + count
        if count == 0:
            return
        shift = mean - self.mean
        weight = int(self.count) * count / total
        self.scatter += scatter + weight * (torch.outer(shift, shift) if self.mode == "phi_s" else shift.square())
        self.mean += shift * (count / total)
        self.count.fill_(total)

    def _freeze_phi_s(self, covariance: Tensor) -> Tensor:
        """Fill `transform`; gives back the spectrum, largest first."""
        eigenvalues, vectors = torch.linalg.eigh(covariance)  # ascending
        eigenvalues, vectors = eigenvalues.flip(0).clamp(min=0), vectors.flip(1)
        # An eigenvector has no sign of its own: the largest entry is made positive, so that ranks and machines agree.
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))  # (1, D)
        vectors = vectors * largest.sign()
        alpha = eigenvalues.mean().rsqrt()
        self.transform.copy_(alpha * hadamard(self.dim).to(vectors.device) @ vectors.T)
        return eigenvalues

    def _backward(self) -> Tensor:
        """The inverse of `transform`, of the same shape: (1/α)·U·Hᵀ for phi_s, σ for standardize."""
        if self.mode != "phi_s":
            return self.transform.reciprocal()
        # transform = α·R with a rotation R, so transform⁻¹ = transformᵀ / α², and α² is the mean squared row norm.
        return self.transform.T / self.transform.square().sum(dim=1).mean()

    def _check_width(self, features: Tensor) -> None:
        if features.shape[-1:] != (self.dim,):
            raise ValueError(f"features of width {self.dim} expected in the last axis, got {tuple(features.shape)}")

    def _check_frozen(self) -> None:
        if not self._is_frozen:
            raise RuntimeError("this normalizer is not frozen yet; call freeze after the calibration updates")


def _as_float32(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor.float().to(like.device)


def _refresh_frozen(normalizer: nn.Module, _: Any) -> None:
    """After `load_state_dict`."""
    assert isinstance(normalizer, FeatureNormalizer)
    normalizer._is_frozen = bool(normalizer.frozen)
