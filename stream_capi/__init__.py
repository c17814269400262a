"""Bring lead and page-view events from Kafka to the AppLovin (Axon) Conversion API, with nothing lost."""

__version__ = "0.2.0"
