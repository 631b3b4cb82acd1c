"""The ZEN encoder as a transformers model; importing this package registers it with the Auto classes."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor

from modeling_zen.configuration_zen import ZEN_SIZES, ZenConfig
from modeling_zen.image_processing_zen import ZenImageProcessor
from modeling_zen.modeling_zen import ZenModel, ZenPreTrainedModel
from modeling_zen.video_processing_zen import ZenVideoProcessor

AutoConfig.register(ZenConfig.model_type, ZenConfig, exist_ok=True)
AutoModel.register(ZenConfig, ZenModel, exist_ok=True)
AutoImageProcessor.register(ZenConfig, image_processor_classes={"torchvision": ZenImageProcessor}, exist_ok=True)
AutoVideoProcessor.register(ZenConfig, ZenVideoProcessor, exist_ok=True)

# `save_pretrained` then lays the code beside the weights, so that `trust_remote_code=True` works without this package.
ZenConfig.register_for_auto_class()
ZenModel.register_for_auto_class("AutoModel")
ZenImageProcessor.register_for_auto_class("AutoImageProcessor")
ZenVideoProcessor.register_for_auto_class("AutoVideoProcessor")

__all__ = ["ZEN_SIZES", "ZenConfig", "ZenImageProcessor", "ZenModel", "ZenPreTrainedModel", "ZenVideoProcessor"]
