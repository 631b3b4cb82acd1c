"""The projector head that maps student tokens into one teacher's normalised space."""

import torch
from torch import Tensor, nn


class ProjectorHead(nn.Module):
    """Linear, LayerNorm, GELU, Linear: `(..., student_width) -> (..., teacher_width)`, always in float32.

    Small on purpose: a strong head can hide a weak trunk. The last Linear is where the normaliser's inverse is folded
    in on export.
    """

    def __init__(self, student_width: int, teacher_width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(student_width, hidden_width)
        self.norm = nn.LayerNorm(hidden_width)
        self.fc2 = nn.Linear(hidden_width, teacher_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens; the computation leaves autocast, because targets are compared in float32."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.fc2(nn.functional.gelu(self.norm(self.fc1(tokens.float()))))
