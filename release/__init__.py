"""Builds what a release publishes, and tests the wheel in empty environments."""
