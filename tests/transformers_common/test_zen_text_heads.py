"""The heads that read language under transformers' own tests of models."""

import tempfile
import unittest
from typing import Any, ClassVar

import torch
from transformers import CLIPConfig, CLIPModel
from zen_testers import ZenModelTester, ZenModelTesterMixin, fixed, floats_tensor, ids_tensor

from modeling_zen import ZenConfig, ZenForVisualQuestionAnswering, ZenForZeroShotImageClassification

WIDTH = 24  # of texts


class ZeroShotTester(ZenModelTester):
    """As many texts as frames, given as embeddings: the text tower is no part of the model."""

    def inputs(self) -> dict[str, Any]:
        return {**super().inputs(), "text_embeds": floats_tensor([self.batch_size, WIDTH])}

    def labels(self) -> dict[str, torch.Tensor]:
        return {"labels": ids_tensor([self.batch_size], self.batch_size, rng=fixed())}


class ZenForZeroShotImageClassificationTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForZeroShotImageClassification,)
    model_tester_class = ZeroShotTester
    settings: ClassVar[dict[str, Any]] = {"projection_dim": WIDTH, "adaptor_hidden_size": 40}
    additional_model_inputs = ("text_embeds",)

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.text_folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        side = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
        cls.clip = CLIPConfig(
            text_config={**side, "vocab_size": 30, "eos_token_id": 29, "max_position_embeddings": 10},
            vision_config={**side, "image_size": 16, "patch_size": 8},
            projection_dim=WIDTH,
        )
        CLIPModel(cls.clip).save_pretrained(cls.text_folder)

    def _image_features_prepare_config_and_inputs(self) -> tuple[ZenConfig, dict[str, Any]]:
        return self.model_tester.get_config(), {"pixel_values": self.model_tester.pixel_values()}

    def _text_features_prepare_config_and_inputs(self) -> tuple[ZenConfig, dict[str, Any]]:
        config = self.model_tester.get_config()
        config.text_model = self.text_folder
        config.text_config = self.clip.text_config  # where the mixin reads the width that it expects
        return config, {"input_ids": ids_tensor([self.model_tester.batch_size, 6], 30)}

    @unittest.skip("the text tower is borrowed: ZEN returns what its texts mean, not what happens inside of it")
    def test_get_text_features_hidden_states(self) -> None: ...

    @unittest.skip("the text tower is borrowed: ZEN returns what its texts mean, not what happens inside of it")
    def test_get_text_features_attentions(self) -> None: ...


class QuestionTester(ZenModelTester):
    """A question of four words per frame, given as features: the text encoder is no part of the model."""

    def inputs(self) -> dict[str, Any]:
        words = (self.batch_size, 4)
        questions = {"question_states": floats_tensor([*words, WIDTH]), "attention_mask": torch.ones(words).long()}
        return {**super().inputs(), **questions}

    def labels(self) -> dict[str, torch.Tensor]:
        return {"labels": ids_tensor([self.batch_size], self.num_labels, rng=fixed())}


class ZenForVisualQuestionAnsweringTest(ZenModelTesterMixin, unittest.TestCase):
    all_model_classes = (ZenForVisualQuestionAnswering,)
    model_tester_class = QuestionTester
    settings: ClassVar[dict[str, Any]] = {"text_hidden_size": WIDTH, "fusion_num_layers": 1}
    additional_model_inputs = ("question_states",)
