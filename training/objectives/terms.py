"""Terms between tokens: what is compared across the images of a batch, the cells of an image, the frames of a clip."""

import torch
from torch import Tensor

from training.diagnostics.agreement import Agreement
from training.losses import gram, has_partner, relational, temporal_gram
from training.objectives.branches import Compared

# Each has a weight in `TeacherConfig` and compares tokens of one kind.
TERMS = {"relational": "summary", "gram": "dense", "temporal_gram": "dense"}


def compare_between(term: str, compared: Compared, shared: Tensor) -> Agreement:
    """One term of a batch.

    Args:
        term: one of `TERMS`.
        compared: the tokens of its kind.
        shared: int64 `(B,)`, `ViewBatch.shared`: frames of one clip that share a view.

    Returns:
        Loss and constant loss of the term, the cosine of the tokens, and which images count: with `temporal_gram` those
        that have another frame of their clip beside them.
    """
    valid_mask, counted = compared.valid_mask, compared.agreement.counted
    if term == "temporal_gram":
        counted = has_partner(shared, valid_mask)

    def measure(prediction: Tensor) -> Tensor:
        if term == "relational":
            return relational(prediction, compared.target, valid_mask)
        if term == "gram":
            return gram(prediction, compared.target, valid_mask)
        return temporal_gram(prediction, compared.target, valid_mask, clips=shared)

    loss = measure(compared.prediction)
    with torch.no_grad():  # tokens that are all alike are alike whatever they are
        constant = measure(torch.ones_like(compared.target))
        cosine = compared.agreement.cosine if counted is None else compared.agreement.cosine * counted
    return Agreement(loss, constant, cosine, loss.detach(), constant, counted)
