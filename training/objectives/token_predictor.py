"""A small transformer that tells hidden tokens from visible ones: the decoder of MAE, the predictor of I-JEPA."""

import torch
from torch import Tensor, nn

from modeling_zen.modeling_zen import axial_rotary_embedding
from training.errors import UserError
from training.objectives.visible_tokens import take_tokens

CHANNELS_PER_HEAD = 32  # as both papers: 512 channels in 16 heads, 384 in 12


class TokenPredictor(nn.Module):
    """Pre-norm transformer over visible tokens and one mask token for each hidden place; fixed 2-D sine positions.

    Args:
        student_width: width of the visible tokens.
        output_width: width of what is predicted.
        width: its own, a multiple of 32; `None`: half of the student's, at least 64.
        depth: layers.

    Raises:
        UserError: a width that is no multiple of 32.

    Source: the decoder of MAE, arXiv 2111.06377, section 3; the predictor of I-JEPA, arXiv 2301.08243, section 3.
    """

    def __init__(self, student_width: int, output_width: int, width: int | None, depth: int) -> None:
        super().__init__()
        width = width or max(64, student_width // 2 // CHANNELS_PER_HEAD * CHANNELS_PER_HEAD)
        if width % CHANNELS_PER_HEAD:
            raise UserError(f"the width of a predictor must be a multiple of {CHANNELS_PER_HEAD}, got {width}")
        self.width = width
        self.embed = nn.Linear(student_width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                width // CHANNELS_PER_HEAD,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, output_width)

    def forward(self, context: Tensor, visible: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        """Predict what lies in hidden places.

        Args:
            context: `(B, S + n, student_width)`: S tokens without a place, then the visible patches.
            visible: int64 `(B, n)`, their places on the grid, row by row.
            hidden: int64 `(B, k)`, the places to predict.
            grid: rows and columns.

        Returns:
            `(B, k, output_width)`.
        """
        positions = self._positions(grid, context.device).expand(len(context), -1, -1)
        placeless = context.shape[1] - visible.shape[1]
        places = nn.functional.pad(take_tokens(positions, visible), (0, 0, placeless, 0))
        questions = self.mask_token + take_tokens(positions, hidden)
        tokens = torch.cat([self.embed(context) + places, questions], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(self.norm(tokens[:, -hidden.shape[1] :]))

    def _positions(self, grid: tuple[int, int], device: torch.device) -> Tensor:
        """Cosines and sines of the angles by which the trunk turns its tokens, as vectors: `(1, N, width)`."""
        cos, sin = axial_rotary_embedding(*grid, head_dim=self.width, theta=100.0, device=device)
        # Each holds its width / 2 values twice.
        return torch.cat([cos[:, : self.width // 2], sin[:, self.width // 2 :]], dim=1)[None]
