"""For the person on call: one sentence for each reason that something waits (contract, section 9).

Reasons are the codes that the parts of the program use: an HTTP status or fault of the endpoint, or a word of the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from stream_capi.core.held_reason import HeldReason
from stream_capi.errors import is_encrypted
from stream_capi.model import HANGING_TRANSACTION, NOT_READ, OUT_OF_REACH, REQUESTS_TIME_OUT

if TYPE_CHECKING:  # `status` says these sentences too, and needs none of the mapping's tables
    from stream_capi.events.drift import MappedPath

NO_SCHEMA_ANSWER = "registry_unavailable"
DEAD_LETTERS_UNWRITTEN = "dead_letters_unwritten"
FIELDS_ENCRYPTED = "fields_encrypted"
KEY_UNREADABLE = "key_file_unreadable"
PASSWORD_UNREADABLE = "password_file_unreadable"  # noqa: S105 -- the reason's name
CERTIFICATES_UNREADABLE = "certificates_unreadable"
SCHEMA_LACKS_PATH = "schema_lacks_path"
SUPPRESSION_UNREADABLE = "suppression_list_unreadable"
PAUSED = "paused_by_configuration"
PAUSED_BY_CONFIGURATION = "paused by configuration"  # in words
PAUSE_BLOCKS = "pause_blocks_others"
COMMITS_FAIL = "commits_fail"
REBALANCE_LASTS = "rebalance_lasts"
TOPIC_MISSING = "topic_missing"
BROKERS_SILENT = "brokers_silent"
BROKERS_REFUSE = "brokers_refuse"
RIGHT_MISSING = "right_missing"
CLOCK_DIFFERS = "clock_differs"
INVALID_TIMESTAMP = "INVALID_TIMESTAMP"  # the brokers' own word

WHAT_TO_DO: Mapping[str, str] = MappingProxyType(
    {
        # Answers of the endpoint that hold a pixel
        "401": "The API refuses the key: put the Conversion API key of this pixel into its key file (it is then tried at "
        "once) or variable, and check endpoint.authorization; the key of another product of the vendor gives 401, too.",
        "403": "The API knows the key but not for this pixel: check that key and pixel_id belong to the same account.",
        "404": "There is no such address or pixel: check endpoint.url and the pixel's pixel_id.",
        "405": "The address doesn't accept POST: check endpoint.url.",
        "407": "The proxy asks for a login: check endpoint.proxy.",
        # Answers and faults that go on by themselves
        "408": "The API gave up waiting for the request: check endpoint.url and the network on the way there.",
        "421": "The API's host got a request that isn't for it: check endpoint.url, DNS and proxies on the way.",
        "425": "The API refuses a request so early on a new connection; nothing to do unless it lasts.",
        "429": "The API asks for a pause, and requests wait; if this lasts, lower delivery.max_in_flight.",
        "503": "The API asks for a pause, and requests wait; nothing to do unless it lasts.",
        "timeout": "The API doesn't answer within endpoint.timeout_seconds: check the network, then ask the vendor.",
        "descriptors": "This process has no free file descriptor: raise its limit of open files (ulimit -n, LimitNOFILE), or "
        "lower delivery.max_in_flight.",
        "connect": "No connection to the API: check the network and endpoint.url.",
        "reset": "Connections to the API are cut: check proxies and firewalls on the way there.",
        "disconnected": "The API closes connections without an answer: check proxies on the way, then ask the vendor.",
        "dns": "The API's name can't be resolved: check DNS here and endpoint.url.",
        "tls": "The API's certificate isn't trusted: check the clock, endpoint.ca_file and what intercepts TLS on the way.",
        "protocol": "What answers doesn't speak proper HTTP: check endpoint.url and proxies on the way there.",
        "early_answer": "Something answers before the events were sent, so the answer doesn't count: check what answers in "
        "the API's place (a gateway, a login page) and endpoint.url.",
        **{reason.value: reason.what_to_do for reason in HeldReason},
        # Neighbours
        NO_SCHEMA_ANSWER: "The schema registry gives no answer: check it and [schema_registry]; the records wait.",
        FIELDS_ENCRYPTED: "Ciphertext is never hashed or sent as a value: map fields that the contract doesn't encrypt, or "
        "have the producer write these in a topic or version without the rule; a new mapping needs a restart.",
        DEAD_LETTERS_UNWRITTEN: "Dead letters can't be written: check that the topic dead_letter.topic exists, that "
        "enough of its replicas are in sync and that this user may write to it; their partitions wait.",
        INVALID_TIMESTAMP: "The brokers refuse the timestamps of dead letters: this machine's clock, or theirs, is wrong; "
        "check both, then the bounds on timestamps of the topic dead_letter.topic.",
        CLOCK_DIFFERS: "The clock of this machine or of the other side is wrong: check NTP here first. Meanwhile the "
        "endpoint's clock decides what is in the future.",
        PASSWORD_UNREADABLE: "The file of kafka.sasl_password_file can't be read; the password read last is used: "
        "check it and its rights.",
        KEY_UNREADABLE: "The key file can't be read; the key read last is used: check the file and its rights.",
        CERTIFICATES_UNREADABLE: "The file of endpoint.ca_file can't be read or holds no certificate; those read last are "
        "used: check it and its rights.",
        SCHEMA_LACKS_PATH: "A producer's new schema lacks these mapped paths: their fields are left out, or the events "
        "dead-lettered. Ask the producer, and map the new path beside the old one.",
        SUPPRESSION_UNREADABLE: "The file of suppress.file can't be read or was emptied; the list read last is used: people "
        "who were added since are still sent. Check the file and its rights.",
        TOPIC_MISSING: "The topic isn't there, or this user may not see it: create it, or correct the source's topic.",
        BROKERS_REFUSE: "Correct what the reason names. At the brokers or in kafka.sasl_password_file it takes effect by "
        "itself; changed settings and files of ssl.*.location need a restart.",
        RIGHT_MISSING: "Grant this user the right with an ACL; what waits for it then goes on by itself. A member that has "
        "ended must be started again.",
        BROKERS_SILENT: "The brokers don't answer: check them, the network, and kafka.bootstrap_servers.",
        OUT_OF_REACH: "This broker doesn't answer while others may: check it, its advertised address and the network; "
        "its partitions wait, and commits where it coordinates the group.",
        REQUESTS_TIME_OUT: "A broker's answers don't arrive in time: check the broker and the connection; if that is slow, "
        "make answers smaller or give them more time in kafka.properties.",
        NOT_READ: "These partitions have records that don't arrive: check that they have a leader and that it answers, then "
        "the connection's speed and the brokers' quotas for this client id.",
        HANGING_TRANSACTION: "A producer's transaction is open, and nothing behind its first record can be read before "
        "it ends: find its producer by Kafka's tool kafka-transactions (find-hanging, describe-producers), or abort it.",
        "internal_error": "A record or schema met a fault of this program and is dead-lettered: report the detail, which "
        "names the place; run `stream-capi dead-letters redrive --code internal_error` with a version in which it is fixed.",
        PAUSED: "Nothing is sent for it and its events wait uncommitted, for as long as the topic keeps "
        "them: to go on, set paused = false and restart.",
        PAUSE_BLOCKS: "Events of a paused source or pixel fill this partition's memory, so its other events wait, too: set "
        "paused = false and restart, or raise delivery.max_buffered_bytes.",
        COMMITS_FAIL: "Offsets can't be committed; they are tried again: check the brokers, and this user's rights if "
        "the reason speaks of authorization.",
        # The brokers' own words for commits that a rebalance refuses
        "REBALANCE_IN_PROGRESS": "Nothing to do: the group reassigns its partitions, and the commit is repeated "
        "after that.",
        "ILLEGAL_GENERATION": "Nothing to do: the group has reassigned its partitions; this member joins again by "
        "itself and commits what is still its own.",
        "STALE_MEMBER_EPOCH": "Nothing to do: the group has reassigned its partitions; this member learns of it "
        "with its next heartbeat and commits what is still its own.",
        **dict.fromkeys(
            ("UNKNOWN_MEMBER_ID", "FENCED_MEMBER_EPOCH", "_ASSIGNMENT_LOST"),
            "The member joins again by itself. If this happens again and again, the process or its connection to the brokers "
            "stalls for longer than the session time-out: look at its processor limit and at the network.",
        ),
        "FENCED_INSTANCE_ID": "Two members have the same static id in kafka.properties, and this one has lost it: give each "
        "an id of its own.",
        "OFFSET_METADATA_TOO_LARGE": "Nothing to do: the commit is repeated with less of what was delivered beyond it.",
        REBALANCE_LASTS: "The group keeps rebalancing: look for a member that joins and leaves again and again (its log, "
        "and the hosts in `stream-capi status`), or one that doesn't answer the group.",
    }
)
_NAMED_PATHS = 5
_REDIRECT = "The address answers with a redirect, which is never followed: set endpoint.url to where the API is now."
_REFUSED = "The API refuses the request itself: check endpoint.url, the pixel's pixel_id and its key."
_SERVER = "The API fails; the same events are sent again until it recovers: if it lasts, ask the vendor."
_UNKNOWN = "See the log lines around this one; nothing is lost while it waits."


def what_to_do(reason: str) -> str:
    """What a person on call can do about a reason, in one sentence."""
    found = WHAT_TO_DO.get(reason)
    if found is not None:
        return found
    if len(reason) == 3 and reason.isascii() and reason.isdigit():
        return {"3": _REDIRECT, "4": _REFUSED}.get(reason[0], _SERVER)
    return _UNKNOWN


def schema_reason(why: str) -> str:
    """The reason to look up for records that wait for their schema."""
    return FIELDS_ENCRYPTED if is_encrypted(why) else NO_SCHEMA_ANSWER


def dead_letters_reason(failing: str) -> str:
    """The reason to look up for dead letters that can't be written: most faults of theirs have the same remedy."""
    return INVALID_TIMESTAMP if INVALID_TIMESTAMP in failing else DEAD_LETTERS_UNWRITTEN


def lacks(right: str, kind: str) -> str:
    """A right that is missing on a topic or group, in words."""
    return f"this user lacks {right} on the {kind}"


def lost_paths(lost: Sequence[MappedPath]) -> str:
    """Mapped paths in words: each with what it is for. The rest is counted."""
    named = ", ".join(f"{one.field} ({one.path})" for one in lost[:_NAMED_PATHS])
    return named + (f" and {len(lost) - _NAMED_PATHS} more" if len(lost) > _NAMED_PATHS else "")


def difference(of: str, seconds: float) -> str:
    """A clock's difference in words."""
    owner = f"{of}'" if of.endswith("s") else f"{of}'s"
    return f"the local clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the {owner}"
