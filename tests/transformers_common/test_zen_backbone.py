"""`ZenBackbone` under transformers' own tests of backbones and of models, in each form that its output can have."""

import unittest
from typing import Any, ClassVar

import torch
from transformers_tests.test_backbone_common import BackboneTesterMixin
from zen_testers import ZenModelTester, ZenModelTesterMixin

from modeling_zen import ZenBackbone, ZenConfig


class ZenBackboneTester(BackboneTesterMixin):
    all_model_classes = (ZenBackbone,)
    config_class = ZenConfig
    settings: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.model_tester = ZenModelTester(self, **self.settings)

    def test_backbone_outputs(self) -> None:
        """As in the mixin; attentions exist where attention is written out, and a shape is compared, not only named."""
        self.has_attentions = False
        super().test_backbone_outputs()
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = ZenBackbone._from_config(config, attn_implementation="eager").eval()
        outputs = model(**inputs, output_attentions=True)
        assert len(outputs.attentions) == config.num_hidden_layers
        side = self.model_tester.image_size // self.model_tester.patch_size
        for feature_map, channels in zip(outputs.feature_maps, model.channels, strict=True):
            assert feature_map.shape == (self.model_tester.batch_size, *self.shape(channels, side))

    def shape(self, channels: int, side: int) -> tuple[int, ...]:
        """Of one output of one image."""
        return (channels, side, side)


class ZenBackboneTest(ZenBackboneTester, unittest.TestCase):
    settings: ClassVar = {"out_features": ["stage1", "stage2"]}


class ZenBackboneTokensTest(ZenBackboneTester, unittest.TestCase):
    settings: ClassVar = {"out_features": ["stage1", "stage2"], "reshape_hidden_states": False}

    def shape(self, channels: int, side: int) -> tuple[int, ...]:
        return (1 + side * side, channels)


class ZenBackbonePatchesTest(ZenBackboneTester, unittest.TestCase):
    settings: ClassVar = {"out_indices": [0, 2], "reshape_hidden_states": False, "return_class_token": False}

    def shape(self, channels: int, side: int) -> tuple[int, ...]:
        return (side * side, channels)


class ZenBackboneModelTester(ZenModelTesterMixin):
    """Every test of a model, on the backbone alone: transformers keeps some of them for the first class of a file."""

    all_model_classes = (ZenBackbone,)

    def test_retain_grad_hidden_states_attentions(self) -> None:
        """As in the mixin, which wants a tensor as the first output; ours is a tuple of maps."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = ZenBackbone._from_config(config, attn_implementation="eager")
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        kept = [outputs.hidden_states[0], outputs.attentions[0]]
        for tensor in kept:
            tensor.retain_grad()
        outputs.feature_maps[-1].flatten()[0].backward()
        for tensor in kept:
            assert isinstance(tensor.grad, torch.Tensor)


class ZenBackboneModelTest(ZenBackboneModelTester, unittest.TestCase):
    settings: ClassVar = {"out_features": ["stage1", "stage2"]}


class ZenBackbonePyramidModelTest(ZenBackboneModelTester, unittest.TestCase):
    settings: ClassVar = {"out_features": ["stage2"], "pyramid_scale_factors": [4, 2, 1, 0.5]}
