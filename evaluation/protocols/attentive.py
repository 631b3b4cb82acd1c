"""The attentive probe: learned queries look for the places that matter, which a mean over all tokens hides."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.protocols.inputs import Inputs
from evaluation.protocols.probe import PROBES, Probe
from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.selection import Chosen
from evaluation.protocols.training_loop import Learner, Loader, fit_by_steps
from training.diagnostics.standardizer import Standardizer


@dataclass(frozen=True)
class AttentiveSettings:
    """Sizes of the head and its training."""

    queries: int = 4  # several tools can be in sight at once
    width: int = 128  # of keys and values: the same capacity for every backbone, whatever the width of its tokens
    heads: int = 4  # 32 channels each, as small as attention heads get in the field
    recipes: tuple[tuple[float, float], ...] = (
        (1e-3, 0.1),
        (3e-3, 0.01),
    )  # learning rate and weight decay to choose from
    passes: int = 30  # over the training samples, between the limits below
    steps: tuple[int, int] = (30, 1_000)  # fewest: fits a handful of samples; most: 64,000 samples seen
    batch: int = 64  # samples a step
    samples_to_standardize: int = 2_000  # an even choice: means over their many tokens are exact enough


SETTINGS = AttentiveSettings()


class AttentiveHead(nn.Module):
    """softmax(Q Kᵀ / √d) V over tokens for learned Q, beside the pooled features, LayerNorm, linear map to scores.

    The linear map begins at 0, so that scores do not depend on the order of classes.
    """

    def __init__(self, token_width: int, pooled_width: int, classes: int, settings: AttentiveSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.query = nn.Parameter(torch.randn(settings.queries, settings.width))
        self.key = nn.Linear(token_width, settings.width)
        self.value = nn.Linear(token_width, settings.width)
        self.norm = nn.LayerNorm(settings.queries * settings.width + pooled_width)
        self.head = nn.Linear(settings.queries * settings.width + pooled_width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor, there: Tensor, pooled: Tensor) -> Tensor:
        """Tokens (B, T, D), which of them are no padding (B, T), pooled features (B, P) -> scores (1, B, C)."""
        batch = len(tokens)
        query = self._split(self.query.expand(batch, -1, -1))
        key, value = self._split(self.key(tokens)), self._split(self.value(tokens))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None])  # (B, heads, Q, d)
        flat = seen.transpose(1, 2).reshape(batch, -1)  # (B, Q * width)
        return self.head(self.norm(torch.cat([flat, pooled], dim=1)))[None]

    def _split(self, rows: Tensor) -> Tensor:
        """(B, R, width) -> (B, heads, R, width / heads)."""
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)


def fit_attentive(inputs: Inputs, problem: Problem, seed: int) -> tuple[np.ndarray, Chosen]:
    """Train an attentive head on the coarse tokens of all frames of a sample; their order does not count.

    Args:
        inputs: whose tokens and pooled features are used, both standardised by training samples.
        problem: of any kind; the loss is `losses.loss_of` it.
        seed: of the training.

    Returns:
        float32 (N_test, C): logits, log odds, or values; and what was chosen.
    """
    train = problem.train
    spaced = np.linspace(0, len(train) - 1, min(len(train), SETTINGS.samples_to_standardize)).astype(np.int64)
    tokens, there = inputs.tokens(train.take(spaced))
    standardize = Standardizer.of(tokens[there])  # over all tokens (n, D)
    standardize_pooled = Standardizer.of(inputs.pooled(train))
    widths = tokens.shape[2], len(standardize_pooled.mean)

    def open_samples(samples: Samples) -> Loader:
        pooled = torch.from_numpy(standardize_pooled(inputs.pooled(samples)))

        def load(rows: np.ndarray) -> tuple[Tensor, ...]:
            tokens, there = inputs.tokens(samples.take(rows))  # read when needed: all together would fill the memory
            return torch.from_numpy(standardize(tokens)), torch.from_numpy(there), pooled[rows]

        return load

    learner = Learner(
        build=lambda: AttentiveHead(*widths, len(problem.target.classes), SETTINGS),
        open=open_samples,
        units=lambda samples: list(np.arange(len(samples))[:, None]),
        recipes=SETTINGS.recipes,
        passes=SETTINGS.passes,
        steps=SETTINGS.steps,
        batch=SETTINGS.batch,
        score_batch=256,
    )
    return fit_by_steps(learner, problem, seed)


PROBES.register("attentive")(
    Probe("attentive", ("single", "multi", "value"), temporal=False, causal=None, fit=fit_attentive)
)
