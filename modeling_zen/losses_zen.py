"""The loss that depth heads are trained with; transformers has the heads but leaves their losses out."""

import torch
from torch import nn


def depth_loss(
    prediction: torch.Tensor,
    target: torch.Tensor,
    valid_mask: torch.Tensor | None = None,
    *,
    scale_invariance: float = 0.5,
    gradient_weight: float = 0.5,
    gradient_scales: int = 4,
    inverse: bool = False,
    min_prediction: float = 1e-3,
) -> torch.Tensor:
    """Scale-invariant error of log depth per image, and how well its edges match at several scales.

    With the residual r = log(prediction) - log(target) and its n valid pixels,

    L = (1/n) Σ r² - λ ((1/n) Σ r)² + α Σ_k (1/n_k) Σ_V_k (|∇x r_k| + |∇y r_k|)

    where r_k is every 2^k-th row and column of r (k = 0 ... `gradient_scales` - 1), V_k are its n_k valid pixels, and a
    difference of neighbours counts if both are valid.

    It fits `ZenForDepthEstimation` and the depth heads of transformers: `depth_loss(outputs.predicted_depth, target)`
    for those that predict metric depth (ZoeDepth, DepthAnything with `depth_estimation_type="metric"`), with
    `inverse=True` for those that predict relative inverse depth (DPT as MiDaS, DepthAnything as published). The latter
    know their output up to a factor and an offset: trained with this loss the offset goes, and the factor too unless
    `scale_invariance` is 1. As a measure of such a checkpoint as it is, the loss means nothing.

    Args:
        prediction: `(B, h, w)`, positive; of another size than the target it is resized to it, bilinearly.
        target: `(B, H, W)`, depth. Pixels that are 0, negative, NaN or infinite were not measured and do not count.
        valid_mask: bool `(B, H, W)`; false pixels count neither in the value nor in the gradient.
        scale_invariance: λ. 0 asks for the absolute depth, 1 forgives any factor; 0.5 is the choice of Eigen et al.
        gradient_weight: α. 0.5 is the choice of MiDaS.
        gradient_scales: Number of scales; 4 is the choice of MiDaS.
        inverse: The prediction is 1 / depth.
        min_prediction: Smaller predictions are raised to it, without gradient: heads that end in a ReLU predict 0. In
            the unit of the prediction; a millimetre where that is the metre.

    Returns:
        float32 `(B,)`, computed in float32 (float64 for float64 inputs). 0 for an image without a valid pixel.

    Raises:
        ValueError: Shapes or dtypes that do not fit.

    Source: Eigen et al., arXiv:1406.2283, equation 4, and the gradient term of MegaDepth, arXiv:1804.00607, 4 (on log
    depth), averaged per scale as in MiDaS, arXiv:1907.01341, 5.

    Example:
        One image of one row, prediction [1, 1], target [1, e]: r = [0, -1], so 1/2 - 0.5 (-1/2)² = 0.375. Scale 0 has
        the one difference 1 over 2 pixels, further scales have one pixel and none: L = 0.375 + 0.5 (1/2) = 0.625.
    """
    _check(prediction, target, valid_mask)
    precise = torch.float64 if torch.float64 in (prediction.dtype, target.dtype) else torch.float32
    prediction, target = prediction.to(precise), target.to(precise)
    if prediction.shape != target.shape:
        prediction = nn.functional.interpolate(
            prediction[:, None], target.shape[-2:], mode="bilinear", align_corners=False
        )[:, 0]
    valid = target.isfinite() & (target > 0)
    if valid_mask is not None:
        valid = valid & valid_mask
    # 1 stands for what does not count, before the logarithm: a NaN behind it would come back through its gradient.
    log_prediction = prediction.clamp(min=min_prediction).masked_fill(~valid, 1).log()
    residual = (-log_prediction if inverse else log_prediction) - target.masked_fill(~valid, 1).log()

    count = valid.sum(dim=(1, 2)).clamp(min=1)  # (B, H, W) -> (B,)
    mean, mean_square = residual.sum(dim=(1, 2)) / count, residual.square().sum(dim=(1, 2)) / count
    loss = mean_square - scale_invariance * mean.square()
    for scale in range(gradient_scales):
        step = 2**scale
        loss = loss + gradient_weight * _gradient_error(residual[:, ::step, ::step], valid[:, ::step, ::step])
    return loss


def _gradient_error(residual: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Sum of |differences of neighbours| over the number of valid pixels: (B, H, W) twice -> (B,)."""
    across = residual.diff(dim=2).abs() * (valid[:, :, 1:] & valid[:, :, :-1])
    down = residual.diff(dim=1).abs() * (valid[:, 1:] & valid[:, :-1])
    return (across.sum(dim=(1, 2)) + down.sum(dim=(1, 2))) / valid.sum(dim=(1, 2)).clamp(min=1)


def _check(prediction: torch.Tensor, target: torch.Tensor, valid_mask: torch.Tensor | None) -> None:
    if prediction.ndim != 3 or target.ndim != 3 or len(prediction) != len(target):
        raise ValueError(
            "prediction and target must be (batch, height, width) with one batch size, not "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    if not (prediction.is_floating_point() and target.is_floating_point()):
        raise ValueError(
            f"prediction and target must be floating point depths, not {prediction.dtype} and {target.dtype}"
        )
    if valid_mask is not None and (valid_mask.shape != target.shape or valid_mask.dtype != torch.bool):
        raise ValueError(
            f"valid_mask must be bool {tuple(target.shape)}, not {valid_mask.dtype} {tuple(valid_mask.shape)}"
        )


__all__ = ["depth_loss"]
