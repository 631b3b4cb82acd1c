"""The ZEN encoder as a transformers model; importing this package registers it with the Auto classes."""

import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from modeling_zen.cholect50 import CHOLECT50
from modeling_zen.configuration_zen import ZEN_SIZES, ZenConfig
from modeling_zen.image_processing_zen import ZenImageProcessor
from modeling_zen.losses_zen import depth_loss
from modeling_zen.modeling_zen import ZenBackbone, ZenModel, ZenPreTrainedModel, auto_classes
from modeling_zen.modeling_zen_image import (
    ZenActionTripletOutput,
    ZenForActionTriplet,
    ZenForDepthEstimation,
    ZenForImageClassification,
    ZenForMaskedImageModeling,
    ZenForSemanticSegmentation,
)
from modeling_zen.modeling_zen_text import ZenForVisualQuestionAnswering, ZenForZeroShotImageClassification
from modeling_zen.modeling_zen_video import (
    ZenForVideoClassification,
    ZenForVideoFrameClassification,
    ZenVideoFrameClassifierOutput,
)
from modeling_zen.pipeline_zen import TASK, ZenVideoFeatureExtractionPipeline
from modeling_zen.temporal_zen import ZenTemporalState
from modeling_zen.video_processing_zen import ZenVideoProcessor

AutoConfig.register(ZenConfig.model_type, ZenConfig, exist_ok=True)
AutoImageProcessor.register(ZenConfig, image_processor_classes={"torchvision": ZenImageProcessor}, exist_ok=True)
AutoVideoProcessor.register(ZenConfig, ZenVideoProcessor, exist_ok=True)
# `save_pretrained` then lays the code beside the weights, so that `trust_remote_code=True` works without this package.
ZenConfig.register_for_auto_class()
ZenImageProcessor.register_for_auto_class("AutoImageProcessor")
ZenVideoProcessor.register_for_auto_class("AutoVideoProcessor")
for name, zen_classes in auto_classes().items():
    # transformers chooses within a tuple by `architectures` of the config.
    getattr(transformers, name).register(ZenConfig, zen_classes if zen_classes[1:] else zen_classes[0], exist_ok=True)
    for zen_class in zen_classes:
        zen_class.register_for_auto_class(name)

PIPELINE_REGISTRY.register_pipeline(TASK, ZenVideoFeatureExtractionPipeline, pt_model=AutoModel, type="video")
__all__ = [
    "CHOLECT50",
    "ZEN_SIZES",
    "ZenActionTripletOutput",
    "ZenBackbone",
    "ZenConfig",
    "ZenForActionTriplet",
    "ZenForDepthEstimation",
    "ZenForImageClassification",
    "ZenForMaskedImageModeling",
    "ZenForSemanticSegmentation",
    "ZenForVideoClassification",
    "ZenForVideoFrameClassification",
    "ZenForVisualQuestionAnswering",
    "ZenForZeroShotImageClassification",
    "ZenImageProcessor",
    "ZenModel",
    "ZenPreTrainedModel",
    "ZenTemporalState",
    "ZenVideoFrameClassifierOutput",
    "ZenVideoProcessor",
    "depth_loss",
]
