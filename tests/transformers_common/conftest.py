"""Makes the test mixins of the installed transformers importable, as the package `transformers_tests`.

These tests are not part of a plain `pytest` (`norecursedirs` in pyproject.toml): they need a download. Run them by
`make test-transformers`, or by `python tests/transformers_common/sdist.py` and `pytest tests/transformers_common`.
"""

import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

# Before anything of Hugging Face is imported: the tests themselves never use the network.
os.environ["HF_HUB_OFFLINE"] = "1"

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from sdist import PACKAGE, cache_folder, installed_version, is_complete  # noqa: E402
from skips import is_allowed  # noqa: E402

FOLDER = cache_folder(installed_version())
sys.path.insert(0, str(FOLDER))

# Reasons given by skipped tests that are not in the table of `skips.py`, and how often.
UNEXPLAINED: Counter[str] = Counter()

# Marks that pytest knows itself.
BUILT_IN = {"filterwarnings", "parametrize", "skip", "skipif", "timeout", "usefixtures", "xfail"}


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run without the mixins, and register the marks they carry."""
    if not is_complete(FOLDER):
        raise pytest.UsageError(
            f"the tests of transformers {installed_version()} are not in {FOLDER}: run make test-transformers, "
            "which fetches them once"
        )
    import transformers.testing_utils as testing_utils

    sources = [*(FOLDER / PACKAGE).glob("*_common.py"), Path(testing_utils.__file__)]
    marks = {mark for source in sources for mark in re.findall(r"\bmark\.(\w+)", source.read_text(encoding="utf-8"))}
    for mark in sorted(marks - BUILT_IN):
        config.addinivalue_line("markers", f"{mark}: a mark of the tests of transformers")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note skips that nobody has explained; with several processes, only the one that collects the reports does."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not is_allowed(reason):
            UNEXPLAINED[reason] += 1


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip without an explanation is a failure."""
    if UNEXPLAINED and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips without an explanation."""
    for reason, count in UNEXPLAINED.items():
        terminalreporter.write_line(f"FAILED: {count} skipped without an explanation in skips.py: {reason}", red=True)
