"""Why something is held or stopped, and what a person can do about it (contract, section 9).

A pixel may also be held because of an answer of the endpoint; the reason is then the HTTP status.
"""

from __future__ import annotations

from enum import StrEnum


class HeldReason(StrEnum):
    """A reason: its public name, and one sentence for the person on call."""

    what_to_do: str

    def __new__(cls, word: str, what_to_do: str) -> HeldReason:
        """A member is defined with both; its value is the name."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.what_to_do = what_to_do
        return member

    # Refusals and rejections that are not the events' own fault
    SPLIT_BUDGET = (
        "split_budget",
        "The API refuses so many events of one batch that the cause isn't in single events: compare a recent change of the "
        "mapping or the events with the API document; sending goes on by itself once a probe is accepted.",
    )
    DEAD_LETTER_RATIO = (
        "dead_letter_ratio",
        "More events are rejected than dead_letter.max_ratio allows: look for a recent change of schema or mapping; if the "
        "events really are bad, set max_ratio = 1.0 for their source (or for all) and restart.",
    )
    REFUSALS = (
        "refusals",
        "The API has refused as many requests with this key in five minutes as delivery.max_refusals allows; sending goes on "
        "by itself when they are older: look which events it refuses (dead letters with the code refused), and correct them.",
    )
    # Partitions that are stopped
    OFFSET_OUT_OF_RANGE = (
        "offset_out_of_range",
        "The committed offset is no longer in the topic, so events are gone: decide where to go on, then run "
        "`stream-capi reset` with the topic's name as `--topic`, and restart.",
    )
    LOG_TRUNCATED = (
        "log_truncated",
        "The log was truncated below the committed offset, so other events may have the offsets of delivered ones: find "
        "where the logs differ, then run `stream-capi reset` with that offset and restart.",
    )
    NO_COMMITTED_OFFSET = (
        "no_committed_offset",
        "The group has no offset here and kafka.start is error: run `stream-capi reset` with the place to start from, or set "
        "kafka.start, and restart.",
    )
    TOPIC_RECREATED = (
        "topic_made_anew",
        "The topic was deleted and recreated, so its offsets mean other events: run `stream-capi reset --to earliest` (or "
        "where you want to go on) with the topic's name as `--topic`, else all topics are sent again, and restart.",
    )
