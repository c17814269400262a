"""The program's exceptions, grouped by what the caller does about them.

::

    StreamCapiError                 every error that is meant for a person to read
    ├── ConfigurationError          exit 2: the settings are wrong; carries every fault found
    │   └── NoSubject               the registry has no subject with a topic's default name
    ├── KafkaLost                   exit 3: the client can't go on (fatal error, group lost, recreated topic)
    ├── Unavailable                 another service doesn't answer for now: wait and retry
    │   ├── RegistryUnavailable     the schema registry is down, slow or answers 5xx
    │   └── FieldsEncrypted         the registry's rules encrypt a mapped field: a person must decide
    ├── WorkersFailed               exit 3: a worker can't be kept running
    ├── OutputLost                  exit 1: standard output can't be written
    └── CheckFailed                 exit 1: a check or the closing ledger did not hold

What can happen to an *event* or a *request* is a value, not an exception (see ``model.Rejection`` and ``core.outcomes``).
Any exception that is not in this tree is a bug: it ends the process, and no offset of unfinished events is committed. There
is one case where it doesn't: if decoding, mapping or writing a record, or compiling its schema, raises an exception, that
record becomes a dead letter (``internal_error``). Otherwise it would end every process that reads it again.

No error's text holds a value taken from an event, a key or a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What a process ends with (contract, section 2)."""

    DONE = 0
    FAILED = 1  # a check or the closing ledger did not hold, or standard output could not be written
    USAGE = 2  # usage or configuration
    LOST = 3  # lost Kafka, a fatal client error, or a last commit that was not confirmed
    CUT_OFF = 4  # stopped at the shutdown deadline with work in flight
    INTERRUPTED = 130  # by SIGINT before there was anything to stop in order


class StreamCapiError(Exception):
    """An error with a text for people: what is wrong, where, and what to do."""


class ConfigurationError(StreamCapiError):
    """The settings are wrong. ``faults`` has one line for each fault, all of them found in one reading."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class NoSubject(ConfigurationError):
    """The registry has no subject with the default name of a topic's schemas, ``TOPIC-value``."""


class KafkaLost(StreamCapiError):
    """The Kafka client can't go on: a fatal client error, or a log that is not the one the offsets came from."""


class Unavailable(StreamCapiError):
    """Another service doesn't answer for now. Wait and retry; nothing is decided about any event."""


class RegistryUnavailable(Unavailable):
    """The schema registry can't be reached for now. This is not the same as its not knowing a schema."""


class FieldsEncrypted(Unavailable):
    """The registry's rules encrypt a mapped field. Ciphertext must not be sent, so the records wait for another mapping."""


ENCRYPTED = "the registry's rules encrypt"


def is_encrypted(reason: str) -> bool:
    """Whether records wait for a schema because of FieldsEncrypted."""
    return ENCRYPTED in reason


class WorkersFailed(StreamCapiError):
    """A worker ended again and again: starting it once more would not help."""


class OutputLost(StreamCapiError):
    """Standard output can't be written: its reader has gone (the text is empty then), or its disk is full."""


class CheckFailed(StreamCapiError):
    """A check failed, or a ledger doesn't balance."""
