"""`ZenImageProcessor` under transformers' own tests of image processors."""

import unittest
from typing import Any

import pytest
from transformers_tests.test_image_processing_common import (
    ImageProcessingTester,
    ImageProcessingTestMixin,
    PostProcessSemanticSegmentationTestMixin,
)

from modeling_zen import ZenImageProcessor


class ZenImageProcessingTester(ImageProcessingTester):
    """Small images, and settings that are not the defaults."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        settings = {
            "size": {"height": 18, "width": 20},
            "do_normalize": True,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.5, 0.6, 0.7],
            "num_labels": 5,
            "min_resolution": 20,
            "max_resolution": 60,
        }
        super().__init__(parent, **{**settings, **kwargs})

    def _get_image_processing_classes(self) -> dict[str, type]:
        # The parent looks the model up by the name of this file's folder, among the models within transformers.
        return {"torchvision": ZenImageProcessor}


class ZenImageProcessingTest(PostProcessSemanticSegmentationTestMixin, ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = ZenImageProcessingTester
    test_cast_dtype = True

    def test_image_processor_preprocess_arguments(self) -> None:
        """The mixin looks for ways of refusing an unknown argument that today's processors have no more."""
        images = self.image_processor_tester.prepare_image_inputs()
        with pytest.raises((TypeError, ValueError), match="extra_argument"):
            ZenImageProcessor()(images, extra_argument=True)

    def test_override_instance_attributes_does_not_affect_other_instances(self) -> None:
        """As in the mixin, which takes only sizes that are plain dictionaries."""
        first, second = ZenImageProcessor(), ZenImageProcessor()
        first.size["height"] = -1
        assert second.size["height"] == 224
        assert isinstance(first.image_mean, tuple)  # nobody can change it in place
