"""The projector head that maps student tokens into one teacher's normalised space."""

import torch
from torch import Tensor, nn


class ProjectorHead(nn.Module):
    """Linear, LayerNorm, GELU, Linear: `(..., student_width) -> (..., teacher_width)`, always in float32.

    Small on purpose: a strong head can hide a weak trunk. The last Linear is where the normaliser's inverse is folded
    in on export.

    Args:
        student_width: width of the student's tokens.
        teacher_width: width of the teacher's tokens.
        hidden_width: width between the two.
        block_heads: attention heads of a transformer block in front (pre-norm, MLP of four times the width), for
            teachers whose tokens mix what the student keeps apart; 0 has none. Tokens are `(B, N, student_width)` then.

    Source: the projectors of EUPE (arXiv 2603.22387); the block is that of DUNE (arXiv 2503.14405).
    """

    def __init__(self, student_width: int, teacher_width: int, hidden_width: int, block_heads: int = 0) -> None:
        super().__init__()
        self.block: nn.Module = nn.Identity()
        if block_heads:
            self.block = nn.TransformerEncoderLayer(
                student_width,
                block_heads,
                4 * student_width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
        self.fc1 = nn.Linear(student_width, hidden_width)
        self.norm = nn.LayerNorm(hidden_width)
        self.fc2 = nn.Linear(hidden_width, teacher_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens; the computation leaves autocast, because targets are compared in float32."""
        with torch.autocast(tokens.device.type, enabled=False):
            return self.fc2(nn.functional.gelu(self.norm(self.fc1(self.block(tokens.float())))))
