"""A backbone with a linear head on it: samples of one or several frames in, one score per class out."""

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.backbones.backbone import FrameNetwork
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Samples
from training.teachers.precision import compute_dtype

FRAMES_AT_ONCE = 64  # in passes without gradients


class HeadedNetwork(nn.Module):
    """LayerNorm and a linear layer on the summary beside the mean dense token, averaged over the frames of a sample.

    `center` and `scale` (C,) bring what the head says to the units of values; logits have 0 and 1.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, network: FrameNetwork, outputs: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Sequential(nn.LayerNorm(sum(network.widths)), nn.Linear(sum(network.widths), outputs))
        self.register_buffer("center", torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))

    def take_units(self, values: Tensor) -> Tensor:
        """Make mean and standard deviation of training values (N, C) the units of the head; the values in them."""
        spread = values.std(dim=0, correction=0)
        self.center.copy_(values.mean(dim=0))
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))
        return (values - self.center.to(values.device)) / self.scale.to(values.device)

    def pooled(self, frames: Tensor) -> Tensor:
        """Frames float (F, 3, H, W) in [0, 1] to float32 (F, Ds + Dd); bfloat16 inside on GPUs that have it."""
        dtype = compute_dtype("auto", frames.device)
        lower = dtype != torch.float32
        with torch.autocast(frames.device.type, dtype=dtype if lower else torch.bfloat16, enabled=lower):
            summary, dense = self.network(frames)
        return torch.cat([summary.float(), dense.float().mean(dim=(2, 3))], dim=1)

    def forward(self, frames: Tensor, owners: Tensor) -> Tensor:
        """Outputs of samples.

        Args:
            frames: of all samples, float (F, 3, H, W) in [0, 1].
            owners: int64 (F,), the sample of each frame; every sample from 0 to B - 1 has one.

        Returns:
            float32 (B, C).
        """
        # A product with the matrix of shares, not `index_add`: on a GPU that would add in another order every time.
        shares = nn.functional.one_hot(owners).float()  # (F, B)
        return self.head((shares / shares.sum(dim=0)).T @ self.pooled(frames))

    def train(self, mode: bool = True) -> "HeadedNetwork":
        """Switch dropout and stochastic depth; statistics of batch norms stay those of the pretraining.

        A step sees few frames, often neighbors of one video: their statistics would drag those that evaluation uses
        away from what the weights were trained with, and frozen, adapted and fine-tuned networks would see different
        normalization.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @torch.no_grad()
    def answers(self, samples: Samples, pixels: Pixels) -> np.ndarray:
        """Scores of samples as a `Problem` has them, from all of their frames, whole and unchanged: float32 (N, C)."""
        self.eval()
        flat = [frame for frames in samples.frames for frame in frames]
        pooled = []
        for start in range(0, len(flat), FRAMES_AT_ONCE):
            images = torch.from_numpy(pixels.read(flat[start : start + FRAMES_AT_ONCE])).to(self.device)
            pooled.append(self.pooled(images.permute(0, 3, 1, 2).float() / 255))
        groups = torch.cat(pooled).split([len(frames) for frames in samples.frames])
        means = torch.stack([group.mean(dim=0) for group in groups])  # (N, Ds + Dd)
        return (self.head(means) * self.scale + self.center).cpu().numpy()


def parameter_counts(module: nn.Module) -> dict[str, int]:
    """Numbers that training changes, and all numbers."""
    trainable = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    return {
        "trainable_parameters": trainable,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
