"""Builds what a release publishes, and tries it where nothing else is installed."""
