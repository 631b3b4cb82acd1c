"""A few label-free measures, cheap enough to be taken while training runs."""

import numpy as np
import torch
from torch import Tensor

from training.diagnostics.correspondence import match_tokens
from training.diagnostics.effective_rank import effective_rank
from training.diagnostics.features import dense_of, features_of, frame_vectors
from training.diagnostics.frames import evenly
from training.diagnostics.measures import resampled
from training.diagnostics.positional_leak import positional_leak
from training.diagnostics.rank_me import rank_me
from training.diagnostics.resolution_consistency import centered_cosines
from training.diagnostics.spectrum import covariance_eigenvalues, singular_values
from training.diagnostics.subjects import ZenSubject
from training.diagnostics.warps import WARPS
from training.objectives.objective import Objective

FRAMES = 64  # shown to the student; ranks are capped by them, so it never changes within a run
WARPED = 8  # of them, also warped and shown at another size
SCALE = 1.5  # of the student's size
GRID = 20  # cells per side on which tokens are matched
BATCH = 32  # frames per forward pass


@torch.no_grad()
def quick_measures(objective: Objective, images: Tensor) -> dict[str, float]:
    """Measures of the student as it is now; about 100 forward passes of one frame.

    Draws nothing at random and leaves the student in the mode in which it was. All processes of a run may call it, with
    the same frames; under FSDP all must.

    Args:
        objective: whose student is measured, as its training shows it frames.
        images: held-out frames, float `(N, 3, V, V)` in [0, 1], N >= 2; up to `FRAMES` of them are used, evenly spaced.

    Returns:
        By name: `rank_me` and `effective_rank` of the summary tokens, `positional_leak` of the dense tokens,
        `resolution_consistency` of the summary tokens between the student's size and 1.5 times of it, and `pck`, the
        mean over shift, scale and rotation. See docs/diagnostics.md. No intervals: they are for curves, not for tables.
    """
    student, size = objective.student, objective.image_size
    was_training = student.training
    student.eval()
    try:
        rows = evenly(len(images), min(FRAMES, len(images)))
        frames = (images[torch.from_numpy(rows)] * 255).round().byte().cpu()
        some = evenly(len(frames), min(WARPED, len(frames)))
        subject = ZenSubject("student", "student", student, objective.mean, objective.std, (size, size))
        device = objective.mean.device
        whole = features_of(subject, frames, subject.size, BATCH, device)
        vectors = frame_vectors(whole)
        tokens = dense_of(whole).flatten(2).transpose(1, 2).numpy()  # (N, D, h, w) -> (N, h*w, D)
        found = {
            "rank_me": rank_me(singular_values(vectors)),
            "effective_rank": effective_rank(covariance_eigenvalues(vectors)),
            "positional_leak": positional_leak(np.ascontiguousarray(tokens)),
        }
        chosen = frames[torch.from_numpy(some)]
        for other in subject.sizes((SCALE,)).values():
            larger = frame_vectors(features_of(subject, chosen, other, BATCH, device))
            cosines = centered_cosines(vectors[some], larger, vectors.mean(axis=0))
            found["resolution_consistency"] = float(cosines.mean())
        original, everywhere = resampled(whole, GRID)[some], np.ones((GRID, GRID), bool)
        hits = queries = 0.0
        for warp in WARPS:
            if warp.name == "color":  # nothing moves: a model of positions alone would score 1
                continue
            warped = resampled(features_of(subject, chosen, subject.size, BATCH, device, warp.apply), GRID)
            for first, second in zip(original, warped, strict=True):
                match = match_tokens(first, second, warp.cells(GRID), everywhere)
                hits, queries = hits + match.hits, queries + match.queries
        return found | {"pck": hits / queries}
    finally:
        student.train(was_training)
