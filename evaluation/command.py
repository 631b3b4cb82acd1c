"""The parser of the commands here and in `hub_cards`: one sentence for a mistake, no abbreviated options."""

import argparse
from typing import Any, NoReturn

from training.errors import UserError


class Parser(argparse.ArgumentParser):
    """Raises `UserError` instead of printing the usage; options must be written in full."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what was wrong in one sentence."""
        raise UserError(f"{message}; --help shows the options")
