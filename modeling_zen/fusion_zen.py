"""How the words of a question look at a frame: the layers of `ZenForVisualQuestionAnswering`."""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_zen import ZenConfig
from .modeling_zen import ZenGatedMLP, ZenMLP


class ZenFusionAttention(nn.Module):
    """Multi-head attention from one sequence to another."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = float(config.attention_dropout)
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, queries: torch.Tensor, memory: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(batch, tokens, hidden) and (batch, others, hidden) -> (batch, tokens, hidden).

        `attention_mask` is (batch, 1, 1, others), bool, true where there is something to see.
        """
        # (batch, tokens, hidden) -> (batch, heads, tokens, head_dim)
        query = self.q_proj(queries).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        key = self.k_proj(memory).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        value = self.v_proj(memory).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        output = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=self.dropout if self.training else 0.0
        )
        # (batch, heads, tokens, head_dim) -> (batch, tokens, hidden)
        return self.o_proj(output.transpose(1, 2).flatten(-2))


class ZenFusionLayer(GradientCheckpointingLayer):
    """The words of a question look at each other, then at the frame; a pre-norm decoder layer (arXiv:1706.03762)."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attention = ZenFusionAttention(config)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.cross_attention = ZenFusionAttention(config)
        self.norm3 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ZenGatedMLP(config) if config.mlp == "swiglu" else ZenMLP(config)

    def forward(self, words: torch.Tensor, frame: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Words (batch, words, hidden), frame (batch, tokens, hidden), mask of words (batch, 1, 1, words) -> words."""
        normed = self.norm1(words)
        words = words + self.self_attention(normed, normed, attention_mask)
        words = words + self.cross_attention(self.norm2(words), frame)
        return words + self.mlp(self.norm3(words))


__all__ = ["ZenFusionLayer"]
