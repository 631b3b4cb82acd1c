"""The heads for videos under transformers' own tests of models."""

import tempfile
import unittest
from typing import Any, ClassVar

import pytest
import torch
from zen_testers import ZenModelTester, ZenModelTesterMixin, fixed, floats_tensor, ids_tensor

from modeling_zen import ZenForVideoClassification, ZenForVideoFrameClassification


class VideoTester(ZenModelTester):
    """The same frames, three to a video."""

    image_size = 16
    num_frames = 3

    def inputs(self) -> dict[str, Any]:
        shape = [self.batch_size, self.num_frames, self.num_channels, self.image_size, self.image_size]
        return {"pixel_values_videos": floats_tensor(shape)}


class ZenForVideoClassificationTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForVideoClassification,)
    model_tester_class = VideoTester


class FrameTester(VideoTester):
    def labels(self) -> dict[str, torch.Tensor]:
        return {"labels": ids_tensor([self.batch_size, self.num_frames], self.num_labels, rng=fixed())}


class ZenForVideoFrameClassificationTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForVideoFrameClassification,)
    model_tester_class = FrameTester
    settings: ClassVar[dict[str, Any]] = {"temporal_hidden_size": 16, "temporal_num_layers": 2, "temporal_dropout": 0.0}

    def test_can_load_ignoring_mismatched_shapes(self) -> None:
        """As in the mixin, which finds the layers that count labels only right below the model."""
        model = ZenForVideoFrameClassification(self.model_tester.get_config())
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            with pytest.raises(ValueError, match="of another shape: temporal_head"):
                ZenForVideoFrameClassification.from_pretrained(folder, num_labels=7)
            other = ZenForVideoFrameClassification.from_pretrained(folder, num_labels=7, ignore_mismatched_sizes=True)
        old, new = model.state_dict(), other.state_dict()
        assert old.keys() == new.keys()
        changed = {name for name in old if old[name].shape != new[name].shape}
        assert changed
        assert all(name.startswith("temporal_head.") and 7 in new[name].shape for name in changed)
        for name in old.keys() - changed:
            torch.testing.assert_close(old[name], new[name])


class ZenForVideoFrameClassificationTransformerTest(ZenForVideoFrameClassificationTest):
    settings: ClassVar[dict[str, Any]] = {
        **ZenForVideoFrameClassificationTest.settings,
        "temporal_head": "transformer",
        "temporal_num_heads": 2,
        "temporal_window": 2,
    }
