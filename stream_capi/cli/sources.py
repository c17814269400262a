"""The sources by name, as the commands are told them."""

from __future__ import annotations

from difflib import get_close_matches

from stream_capi.config import Settings, SourceSection
from stream_capi.errors import ConfigurationError


def source_of(settings: Settings, topic: str) -> SourceSection:
    """The source of a topic. Raises ConfigurationError with the nearest name."""
    topics = {source.topic: source for source in settings.sources}
    if topic not in topics:
        close = get_close_matches(topic, topics, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(topics)}"
        raise ConfigurationError([f"--topic: {topic} is not the topic of one of the sources; {hint}"])
    return topics[topic]
