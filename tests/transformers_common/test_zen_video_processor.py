"""`ZenVideoProcessor` under transformers' own tests of video processors."""

import unittest
from typing import Any

import pytest
from transformers_tests.test_video_processing_common import VideoProcessingTestMixin, prepare_video_inputs

from modeling_zen import ZenVideoProcessor


class ZenVideoProcessingTester:
    """Small videos, and settings that are not the defaults."""

    batch_size = 3
    num_frames = 4
    min_resolution = 20
    max_resolution = 60

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.num_channels = 3  # the mixin changes it

    def settings(self) -> dict[str, Any]:
        """What the processor is made with."""
        return {
            "do_resize": True,
            "size": {"height": 18, "width": 20},
            "do_normalize": True,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.5, 0.6, 0.7],
            "do_convert_rgb": True,
        }

    def expected_output_video_shape(self, videos: Any) -> list[int]:
        """Of one video: (frames, channels, height, width)."""
        return [self.num_frames, self.num_channels, 18, 20]

    def prepare_video_inputs(self, equal_resolution: bool = False, return_tensors: str = "pil") -> Any:
        return prepare_video_inputs(
            batch_size=self.batch_size,
            num_frames=self.num_frames,
            num_channels=self.num_channels,
            min_resolution=self.min_resolution,
            max_resolution=self.max_resolution,
            equal_resolution=equal_resolution,
            return_tensors=return_tensors,
        )


class ZenVideoProcessingTest(VideoProcessingTestMixin, unittest.TestCase):
    fast_video_processing_class = ZenVideoProcessor
    test_cast_dtype = True

    def setUp(self) -> None:
        super().setUp()
        self.video_processor_tester = ZenVideoProcessingTester(self)

    @property
    def video_processor_dict(self) -> dict[str, Any]:
        return self.video_processor_tester.settings()

    def test_video_processor_from_dict_with_kwargs(self) -> None:
        """As in the mixin, whose sizes are those of processors that cut a square out of the middle."""
        processor = ZenVideoProcessor.from_dict(self.video_processor_dict)
        assert processor.size == {"height": 18, "width": 20}
        processor = ZenVideoProcessor.from_dict(self.video_processor_dict, size=42, crop_size=84)
        assert processor.size == {"height": 42, "width": 42}
        assert processor.crop_size == {"height": 84, "width": 84}

    def test_video_processor_preprocess_arguments(self) -> None:
        """The mixin looks for ways of refusing an unknown argument that today's processors have no more."""
        videos = self.video_processor_tester.prepare_video_inputs()
        with pytest.raises((TypeError, ValueError), match="extra_argument"):
            ZenVideoProcessor()(videos, extra_argument=True)

    def test_override_instance_attributes_does_not_affect_other_instances(self) -> None:
        """As in the mixin, which takes only sizes that are plain dictionaries."""
        first, second = ZenVideoProcessor(), ZenVideoProcessor()
        first.size["height"] = -1
        assert second.size["height"] == 224
        assert isinstance(first.image_mean, tuple)  # nobody can change it in place
