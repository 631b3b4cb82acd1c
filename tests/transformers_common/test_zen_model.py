"""`ZenModel` under transformers' own tests of models."""

import unittest
from typing import ClassVar

from zen_testers import ZenModelTesterMixin

from modeling_zen import ZenModel


class ZenModelTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenModel,)


class ZenModelVariantsTest(ZenModelTesterMixin, unittest.TestCase):
    """The other half of the switches: gated MLP, learned positions, no biases of queries and keys."""

    all_model_classes = (ZenModel,)
    settings: ClassVar = {"mlp": "swiglu", "position_embedding": "learned", "qkv_bias": False}
