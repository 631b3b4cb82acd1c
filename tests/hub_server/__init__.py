"""A Hub on the loopback interface, for tests: repositories in memory, the routes that the libraries use."""

from tests.hub_server.repositories import Repository
from tests.hub_server.server import HubServer

__all__ = ["HubServer", "Repository"]
