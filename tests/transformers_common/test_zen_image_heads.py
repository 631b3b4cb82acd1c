"""The heads for single frames under transformers' own tests of models."""

import unittest
from typing import Any, ClassVar

import torch
from zen_testers import ZenModelTester, ZenModelTesterMixin, fixed, floats_tensor, ids_tensor

from modeling_zen import (
    ZenForActionTriplet,
    ZenForDepthEstimation,
    ZenForImageClassification,
    ZenForMaskedImageModeling,
    ZenForSemanticSegmentation,
)


class ZenForImageClassificationTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForImageClassification,)


class ZenForSemanticSegmentationTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForSemanticSegmentation,)


class DepthTester(ZenModelTester):
    def labels(self) -> dict[str, torch.Tensor]:
        return {
            "labels": 1 + floats_tensor([self.batch_size, self.image_size, self.image_size], scale=100, rng=fixed())
        }


class ZenForDepthEstimationTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForDepthEstimation,)
    model_tester_class = DepthTester


class MaskTester(ZenModelTester):
    def labels(self) -> dict[str, torch.Tensor]:
        """Half of the patches are hidden; the mixin would hide none, so that nothing were learned."""
        return {"bool_masked_pos": ids_tensor([self.batch_size, self.num_patches], 2, rng=fixed()).bool()}


class ZenForMaskedImageModelingTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForMaskedImageModeling,)
    model_tester_class = MaskTester


class TripletTester(ZenModelTester):
    num_labels = 3

    def labels(self) -> dict[str, torch.Tensor]:
        return {"labels": ids_tensor([self.batch_size, self.num_labels], 2, rng=fixed()).float()}


class ZenForActionTripletTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForActionTriplet,)
    model_tester_class = TripletTester
    settings: ClassVar[dict[str, Any]] = {
        "instruments": ["grasper", "hook"],
        "verbs": ["retract", "dissect"],
        "targets": ["gallbladder", "liver"],
        "triplets": [[0, 0, 0], [1, 1, 0], [0, 0, 1]],
    }

    @unittest.skip("a triplet is always one of several labels: there is no other problem_type to test")
    def test_problem_types(self) -> None: ...

    @unittest.skip("the number of labels is that of the triplets in the config: another one alone is refused")
    def test_can_load_ignoring_mismatched_shapes(self) -> None: ...
