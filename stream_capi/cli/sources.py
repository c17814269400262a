"""The ``--topic`` option: the sources that it names."""

from __future__ import annotations

from difflib import get_close_matches

from stream_capi.config import Settings, SourceSection
from stream_capi.errors import ConfigurationError


def sources_of(settings: Settings, topic: str) -> tuple[SourceSection, ...]:
    """The sources of a topic. Raises ConfigurationError, which suggests the nearest name, if there is none."""
    found = settings.sources_of(topic)
    if not found:
        close = get_close_matches(topic, settings.topics, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(settings.topics)}"
        raise ConfigurationError([f"--topic: {topic} is not the topic of one of the sources; {hint}"])
    return found
