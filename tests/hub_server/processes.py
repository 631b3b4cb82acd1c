"""The environment of processes that talk to the Hub of tests."""

import os
from pathlib import Path

from tests.hub_server.server import HubServer


def environment(server: HubServer, home: Path, **more: str) -> dict[str, str]:
    """Of a process that has never seen a Hub: no login, an empty cache in `home`, and `server` for the Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": server.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return {**kept, **settings, **more}
