"""Heads of ZEN that answer per pixel: segmentation, depth, and masked image modelling.

See `modeling_zen_image.py` for what all heads for single frames share.
"""

import math
from typing import Unpack

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import DepthEstimatorOutput, MaskedImageModelingOutput, SemanticSegmenterOutput
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from .configuration_zen import ZenConfig
from .labels_zen import check_classes, check_labels
from .losses_zen import depth_loss
from .modeling_zen import ZenModel, ZenPreTrainedModel, check_pixel_values


class ZenDenseHead(nn.Module):
    """Batch norm and a linear layer per patch, as the head of DINOv2's linear segmentation (arXiv:2304.07193, 7.4).

    The norm makes one learning rate fit all encoders: channels of patch tokens differ in scale by orders of magnitude,
    and by more where there is no final LayerNorm (C-RADIO). In use it is one affine map with the linear layer.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, in_channels, rows, columns) -> (batch, out_channels, rows, columns)."""
        return self.classifier(self.dropout(self.norm(features)))


class ZenForSemanticSegmentation(ZenPreTrainedModel):
    """A class per pixel by a linear layer on the patches, see `ZenDenseHead`.

    Example:
        >>> model = ZenForSemanticSegmentation(ZenConfig.from_size("nano", num_labels=5))
        >>> model(torch.zeros(2, 3, 64, 96), labels=torch.zeros(2, 64, 96, dtype=torch.long)).logits.shape
        torch.Size([2, 5, 4, 6])
    """

    _weights_that_may_be_new = ("decode_head.",)

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # the config has filled it in
        self.num_labels = config.num_labels
        self.zen = ZenModel(config)
        self.decode_head = ZenDenseHead(config.hidden_size, self.num_labels, config.classifier_dropout)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SemanticSegmenterOutput:
        """Segment a batch of frames.

        Args:
            pixel_values: As in `ZenModel.forward`.
            labels: (batch, label height, label width), integers below `num_labels` (with one label 0 or 1), or
                `config.semantic_loss_ignore_index` for pixels that count nowhere. Of any size: the logits are resized
                to it, bilinearly.
            kwargs: As in `ZenModel.forward`.

        Returns:
            loss: With labels, the mean cross-entropy (with one label the binary one) of the pixels that count; 0 if
                there is none.
            logits: (batch, num_labels, height / patch, width / patch); `post_process_semantic_segmentation` resizes.
            hidden_states, attentions: On request, as in `ZenModel.forward`.

        Raises:
            ValueError: As `check_pixel_values`; labels of another shape, dtype or range.
        """
        outputs = self.zen(pixel_values, return_dict=True, **kwargs)
        logits = self.decode_head(self.zen.dense_tokens(outputs.last_hidden_state, *pixel_values.shape[-2:]))
        return SemanticSegmenterOutput(
            loss=None if labels is None else self._loss(logits.float(), labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ignored = self.config.semantic_loss_ignore_index
        check_classes("labels", labels, (len(logits), None, None), max(self.num_labels, 2), ignored)
        counted = labels != ignored
        count = counted.sum().clamp(min=1)
        if self.num_labels > 1:
            # The count makes frames without a labelled pixel a loss of 0; a plain mean of nothing is NaN.
            return self.loss_function(logits, labels.long(), ignore_index=ignored, num_items_in_batch=count)
        scores = nn.functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        present = labels.masked_fill(~counted, 0).float()
        losses = nn.functional.binary_cross_entropy_with_logits(scores, present, reduction="none")
        return (losses * counted).sum() / count


class ZenForDepthEstimation(ZenPreTrainedModel):
    """A depth per pixel by a linear layer on the patches of the last layer, each beside the mean summary token.

    These are the features of DINOv2's smallest depth head, "lin. 1" (arXiv:2304.07193, 7.4); DPT on `ZenBackbone` is
    the one for fine edges. The layer says where between `config.min_depth` and `config.max_depth` a pixel lies on a
    logarithmic scale, `min_depth * (max_depth / min_depth) ** sigmoid(x)`: as its loss, it is as exact in ratio for
    what is near as for what is far, and it cannot leave the range.

    Example:
        >>> model = ZenForDepthEstimation(ZenConfig.from_size("nano", min_depth=5, max_depth=200))
        >>> model(torch.zeros(2, 3, 64, 96), labels=torch.full((2, 64, 96), 40.0)).predicted_depth.shape
        torch.Size([2, 64, 96])
    """

    _weights_that_may_be_new = ("depth_head.",)

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.zen = ZenModel(config)
        self.depth_head = ZenDenseHead(2 * config.hidden_size, 1, dropout=0.0)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> DepthEstimatorOutput:
        """Estimate the depth of a batch of frames.

        Args:
            pixel_values: As in `ZenModel.forward`.
            labels: (batch, label height, label width), floating point depth in the unit of `config.max_depth`; what was
                not measured is 0, negative, NaN or infinite. Of any size: the prediction is resized to it, bilinearly.
            kwargs: As in `ZenModel.forward`.

        Returns:
            loss: With labels, the mean of `depth_loss` over the batch.
            predicted_depth: (batch, height, width), float32, in the unit of `config.max_depth`.
            hidden_states, attentions: On request, as in `ZenModel.forward`.

        Raises:
            ValueError: As `check_pixel_values`; labels of another shape or dtype.
        """
        outputs = self.zen(pixel_values, return_dict=True, **kwargs)
        patches = self.zen.dense_tokens(outputs.last_hidden_state, *pixel_values.shape[-2:])
        # (batch, hidden) -> (batch, hidden, rows, columns)
        summary = outputs.pooler_output[:, :, None, None].expand_as(patches)
        scores = self.depth_head(torch.cat([patches, summary], dim=1)).float()
        scores = nn.functional.interpolate(scores, pixel_values.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        span = math.log(self.config.max_depth / self.config.min_depth)
        predicted_depth = self.config.min_depth * (span * scores.sigmoid()).exp()
        loss = None
        if labels is not None:
            check_labels("labels", labels, (len(predicted_depth), None, None), floating=True)
            loss = depth_loss(predicted_depth, labels).mean()
        return DepthEstimatorOutput(
            loss=loss,
            predicted_depth=predicted_depth,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class ZenForMaskedImageModeling(ZenPreTrainedModel):
    """Pixels of hidden patches from those that are seen, to train the encoder further on frames without labels.

    As SimMIM (arXiv:2111.09886): the encoder sees all positions, a learned token in place of hidden patches, a linear
    layer predicts the pixels, and L1 is taken on the hidden ones. With `config.norm_pix_loss` a patch is predicted with
    mean 0 and variance 1, as MAE found better (arXiv:2111.06377, 4.1).

    Example:
        >>> model = ZenForMaskedImageModeling(ZenConfig.from_size("nano"))
        >>> mask = torch.rand(2, 24) < 0.6
        >>> model(torch.zeros(2, 3, 64, 96), bool_masked_pos=mask).reconstruction.shape
        torch.Size([2, 3, 64, 96])
    """

    _weights_that_may_be_new = ("mask_token", "decoder.")

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.zen = ZenModel(config)
        self.mask_token = nn.Parameter(torch.empty(config.hidden_size))
        self.decoder = nn.Linear(config.hidden_size, config.num_channels * config.patch_size**2)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.trunc_normal_(self.mask_token, mean=0.0, std=self.config.initializer_range)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskedImageModelingOutput:
        """Reconstruct a batch of frames.

        Args:
            pixel_values: As in `ZenModel.forward`.
            bool_masked_pos: (batch, rows * columns), row by row; true (or 1) for the patches to hide.
            kwargs: As in `ZenModel.forward`.

        Returns:
            loss: With a mask, the mean absolute error over the pixels of all hidden patches; 0 if none is hidden.
            reconstruction: (batch, channels, height, width), all patches as the decoder sees them: with
                `config.norm_pix_loss` each in its own mean and standard deviation, otherwise like `pixel_values`.
            hidden_states, attentions: On request, as in `ZenModel.forward`.

        Raises:
            ValueError: As `check_pixel_values`; a mask of another shape or dtype.
        """
        rows, columns = check_pixel_values(pixel_values, self.config)
        if bool_masked_pos is not None:
            check_labels("bool_masked_pos", bool_masked_pos, (len(pixel_values), rows * columns), floating=False)
            bool_masked_pos = bool_masked_pos.bool()
        outputs = self.zen(
            pixel_values,
            masked_patches=bool_masked_pos,
            mask_token=None if bool_masked_pos is None else self.mask_token,
            return_dict=True,
            **kwargs,
        )
        patches = self.decoder(outputs.last_hidden_state[:, self.config.num_prefix_tokens :])
        return MaskedImageModelingOutput(
            loss=None if bool_masked_pos is None else self._loss(patches, pixel_values, bool_masked_pos),
            reconstruction=self._unpatchify(patches, rows, columns),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(self, patches: torch.Tensor, pixel_values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        target = self._patchify(pixel_values.float())
        if self.config.norm_pix_loss:
            # 1e-6 as MAE: a patch of the black rim has variance 0.
            target = (target - target.mean(dim=-1, keepdim=True)) / (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        errors = (patches.float() - target).abs().mean(dim=-1)  # (batch, patches, pixels) -> (batch, patches)
        return (errors * mask).sum() / mask.sum().clamp(min=1)

    def _patchify(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, rows * patch, columns * patch) -> (batch, rows * columns, channels * patch * patch)."""
        patch = self.config.patch_size
        # (batch, channels, rows * patch, columns * patch) -> (batch, channels, rows, patch, columns, patch)
        cut = images.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _unpatchify(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """The way back of `_patchify`."""
        shape = (self.config.num_channels, self.config.patch_size, self.config.patch_size)
        # (batch, rows * columns, channels * patch * patch) -> (batch, rows, columns, channels, patch, patch)
        cut = patches.unflatten(2, shape).unflatten(1, (rows, columns))
        return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


__all__ = ["ZenForDepthEstimation", "ZenForMaskedImageModeling", "ZenForSemanticSegmentation"]
