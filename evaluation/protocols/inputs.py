"""What a probe sees of a backbone: stored features of samples, pooled over the frames of each."""

from dataclasses import dataclass

import numpy as np

from evaluation.features import FeatureStore
from evaluation.protocols.problem import Samples


@dataclass(frozen=True)
class Inputs:
    """Stored features of one backbone."""

    store: FeatureStore
    backbone: str

    def parts(self, samples: Samples) -> list[np.ndarray]:
        """Summary and mean dense token of each sample, means over its frames: float32 (N, Ds) and (N, Dd).

        Ds is 0 for a backbone without a summary of its own.
        """
        flat = [frame for frames in samples.frames for frame in frames]
        starts = np.cumsum([0, *(len(frames) for frames in samples.frames)])
        parts = [self.store.summary(self.backbone, flat), self.store.mean_dense(self.backbone, flat)]
        if len(flat) == len(samples):
            return parts
        counts = np.diff(starts)[:, None].astype(np.float32)
        return [np.add.reduceat(part, starts[:-1], axis=0) / counts for part in parts]

    def pooled(self, samples: Samples) -> np.ndarray:
        """The parts side by side: float32 (N, Ds + Dd)."""
        return np.concatenate(self.parts(samples), axis=1)

    def tokens(self, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
        """Coarse dense tokens of all frames of each sample, for probes that look at places.

        Returns:
            float32 (N, T, Dd), and bool (N, T): which are tokens; the rest is padding of samples with fewer frames.
        """
        flat = [frame for frames in samples.frames for frame in frames]
        coarse = self.store.coarse(self.backbone, flat)  # (frames, Dd, h, w)
        cells = coarse.shape[2] * coarse.shape[3]
        rows = coarse.reshape(len(flat), coarse.shape[1], cells).transpose(0, 2, 1)  # (frames, cells, Dd)
        counts = [len(frames) for frames in samples.frames]
        tokens = np.zeros((len(samples), max(counts, default=0) * cells, coarse.shape[1]), np.float32)
        there = np.zeros(tokens.shape[:2], bool)
        start = 0
        for row, count in enumerate(counts):
            tokens[row, : count * cells] = rows[start : start + count].reshape(count * cells, -1)
            there[row, : count * cells] = True
            start += count
        return tokens, there
