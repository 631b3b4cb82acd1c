"""What the tests of all ZEN models share: tiny configs, random inputs, and the mixin with what is special about ZEN."""

import random
from contextlib import ExitStack
from copy import deepcopy
from typing import Any, ClassVar
from unittest.mock import patch

import torch
import transformers
from transformers import conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.testing_utils import set_config_for_less_flaky_test
from transformers_tests import test_modeling_common
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from modeling_zen import ZenConfig, ZenPreTrainedModel
from modeling_zen.modeling_zen import auto_classes

# The mixins tell by tables of transformers which labels a class needs and which tests apply to it, and mostly pass over
# a class that is in none. A model within transformers stands in them by its file; one from outside is only registered
# beside them, so ours are entered here.
for auto_name, zen_classes in auto_classes().items():
    table = getattr(transformers, auto_name)._model_mapping._model_mapping
    table[ZenConfig.model_type] = tuple(zen_class.__name__ for zen_class in zen_classes)


class ZenModelTester:
    """A config of two layers and random inputs for it; the mixin reads the attributes.

    Args:
        parent: The test case.
        settings: Fields of `ZenConfig` beside the sizes.
    """

    batch_size = 3
    image_size = 32
    patch_size = 8
    num_channels = 3
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    num_summary_tokens = 2
    num_register_tokens = 3
    num_labels = 3
    is_training = True

    def __init__(self, parent: Any, **settings: Any) -> None:
        self.parent = parent
        self.settings = settings
        self.num_patches = (self.image_size // self.patch_size) ** 2
        self.num_masks = self.num_patches // 2
        self.mask_length = self.num_patches
        self.seq_length = self.num_summary_tokens + self.num_register_tokens + self.num_patches

    def get_config(self) -> ZenConfig:
        sizes = {
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": 37,
            "patch_size": self.patch_size,
            "image_size": self.image_size,
            "num_channels": self.num_channels,
            "num_summary_tokens": self.num_summary_tokens,
            "num_register_tokens": self.num_register_tokens,
            "num_labels": self.num_labels,
        }
        return ZenConfig(**{**sizes, **self.settings})

    def prepare_config_and_inputs_for_common(self) -> tuple[ZenConfig, dict[str, Any]]:
        return self.get_config(), self.inputs()

    def inputs(self) -> dict[str, Any]:
        """What `forward` needs, without labels."""
        return {"pixel_values": self.pixel_values()}

    def pixel_values(self) -> torch.Tensor:
        """(batch, channels, height, width)."""
        return floats_tensor([self.batch_size, self.num_channels, self.image_size, self.image_size])

    def labels(self) -> dict[str, torch.Tensor]:
        """Labels that the mixin does not make, or not as ZEN takes them, by argument of `forward`.

        The same at each call: the mixin compares losses.
        """
        return {}


def set_known_fields_for_less_flaky_test(config: ZenConfig) -> None:
    """What transformers sets to make comparisons steadier, without the fields that no ZEN config has.

    It sets `batch_norm_eps` and the like on every config there is; saved, ZEN would rightly refuse to read them.
    """
    before = set(vars(config))
    set_config_for_less_flaky_test(config)
    for name in set(vars(config)) - before:
        delattr(config, name)


def any_checkpoint_will_do() -> Any:
    """Lets a test load a checkpoint without the weights, which ZEN refuses, to see what the gaps are filled with."""
    return patch.object(ZenPreTrainedModel, "_refuse_inexact", lambda *args, **kwargs: None)


def other_names_on_disk() -> Any:
    """As if checkpoints called the layer scales otherwise; ZEN renames nothing itself, but must stand it.

    Strictness must judge the names after transformers has mapped them, or nobody could register a mapping for ZEN.
    """
    of_transformers = conversion_mapping.get_checkpoint_conversion_mapping

    def mapping(model_type: str) -> Any:
        if model_type == ZenConfig.model_type:
            return [WeightRenaming(r"ls1", r"layer_scale1")]
        return of_transformers(model_type)

    stack = ExitStack()
    stack.enter_context(patch.object(conversion_mapping, "get_checkpoint_conversion_mapping", mapping))
    stack.enter_context(patch.object(conversion_mapping, "USER_REGISTERED_MAPPINGS", {ZenConfig.model_type}))
    return stack


class ZenModelTesterMixin(ModelTesterMixin):
    """The mixin of transformers, told what every vision model of transformers tells it too."""

    model_tester_class: ClassVar[type[ZenModelTester]] = ZenModelTester
    settings: ClassVar[dict[str, Any]] = {}

    test_resize_embeddings = False  # there are no embeddings of words
    test_can_init_all_missing_weights_before_2023 = True  # it reads the year in a licence header, which ours lack

    def setUp(self) -> None:
        self.model_tester = self.model_tester_class(self, **self.settings)
        steadier = patch.object(
            test_modeling_common, "set_config_for_less_flaky_test", set_known_fields_for_less_flaky_test
        )
        steadier.start()
        self.addCleanup(steadier.stop)

    def _prepare_for_class(
        self, inputs_dict: dict[str, Any], model_class: type, return_labels: bool = False
    ) -> dict[str, Any]:
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        return {**inputs, **self.model_tester.labels()} if return_labels else inputs

    def test_can_init_all_missing_weights(self) -> None:
        with any_checkpoint_will_do():
            super().test_can_init_all_missing_weights()

    def test_model_weights_reload_no_missing_tied_weights(self) -> None:
        with any_checkpoint_will_do():
            super().test_model_weights_reload_no_missing_tied_weights()

    def test_reverse_loading_mapping(self) -> None:
        """As in the mixin, which writes settings of mixtures of experts into what it takes for the config of a text."""
        with other_names_on_disk(), patch.object(ZenConfig, "get_text_config", lambda self, **kwargs: deepcopy(self)):
            super().test_reverse_loading_mapping()

    def test_can_load_from_already_mapped_keys(self) -> None:
        with other_names_on_disk():
            super().test_can_load_from_already_mapped_keys()

    def test_can_load_ignoring_mismatched_shapes(self) -> None:
        """As in the mixin, where another shape is a RuntimeError; ours is a ValueError, as every fault."""
        of_unittest = self.assertRaises
        with patch.object(self, "assertRaises", lambda _: of_unittest(ValueError)):
            super().test_can_load_ignoring_mismatched_shapes()

    def test_model_get_set_embeddings(self) -> None:
        """As in the mixin, but what is embedded are patches, by a convolution, not words."""
        config, _ = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config)
            assert isinstance(model.get_input_embeddings(), torch.nn.Conv2d)
            replacement = torch.nn.Conv2d(self.model_tester.num_channels, self.model_tester.hidden_size, 1)
            model.set_input_embeddings(replacement)
            assert model.get_input_embeddings() is replacement
            assert model.get_output_embeddings() is None


def fixed() -> random.Random:
    """A source of random numbers that starts anew, for `floats_tensor` and `ids_tensor`."""
    return random.Random(0)


__all__ = ["ZenModelTester", "ZenModelTesterMixin", "fixed", "floats_tensor", "ids_tensor"]
