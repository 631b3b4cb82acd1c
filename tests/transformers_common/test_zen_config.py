"""`ZenConfig` under transformers' own tests of configs."""

import unittest

from transformers import PreTrainedConfig
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.utils.test_configuration_utils import config_common_kwargs

from modeling_zen import ZenConfig

CHECKS = [
    name for name in dir(ConfigTester) if name.startswith(("create_and_test_", "check_")) and name != "run_common_tests"
]


class ZenConfigTest(unittest.TestCase):
    def setUp(self) -> None:
        self.config_tester = ConfigTester(self, config_class=ZenConfig, has_text_modality=False, hidden_size=48)

    def test_common(self) -> None:
        """All checks, in the order transformers runs them."""
        self.config_tester.run_common_tests()

    def test_one_by_one(self) -> None:
        """Each check alone, also one that a later transformers defines but forgets to run."""
        assert len(CHECKS) > 8
        for name in CHECKS:
            with self.subTest(name):
                getattr(self.config_tester, name)()

    def test_common_settings_are_all_there(self) -> None:
        """Our stand-in for the table of common settings names every one, with another value than the default."""
        fields = PreTrainedConfig.__dataclass_fields__
        common = {name: field.default for name, field in fields.items() if "ClassVar" not in str(field.type)}
        del common["transformers_version"]
        assert set(config_common_kwargs) == set(common)
        assert [name for name, value in config_common_kwargs.items() if value == common[name]] == []
