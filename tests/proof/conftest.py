"""The fixture that restores logging after a test that configures it, shared with the logs' tests."""

from tests.observe.conftest import own_logging

__all__ = ["own_logging"]
