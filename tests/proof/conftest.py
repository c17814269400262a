"""Logging that is put back after a test that configures it, as the logs' own tests have it."""

from tests.observe.conftest import own_logging

__all__ = ["own_logging"]
