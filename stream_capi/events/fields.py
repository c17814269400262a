"""The fields of a ServerEvent, in a table over which mapping, ``explain``, ``check`` and the documents' tests iterate."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple

from stream_capi.events import contacts, network, value_rules, whole
from stream_capi.events.tables import COUNTRIES, CURRENCIES, OPERATING_SYSTEMS
from stream_capi.events.value_rules import Wrong
from stream_capi.events.whole import Spellings, Whole


class Need(Enum):
    """What happens to an event without the field."""

    REQUIRED = auto()  # dead-lettered
    DATA = auto()  # dead-lettered, if it is a lead
    IDENTIFIER = auto()  # dead-lettered, if it has no other identifier
    OPTIONAL = auto()  # sent without it
    ID = auto()  # sent with the other id, or with one derived from its position


class Rule(NamedTuple):
    """How a field is validated: a description for people, the rule for one value, and the fast rule for a whole column.

    ``one`` is None if texts are only trimmed. ``plain``: its results have no character that JSON escapes.
    """

    description: str
    one: Callable[..., object] | None = None
    whole: Whole = whole.trimmed
    plain: bool = False

    @property
    def only_trims(self) -> bool:
        """Whether a trimmed text is sent as it is, unless it is a placeholder."""
        return self.one is None or self.one is value_rules.identifier


class Field(NamedTuple):
    """A field and its rules.

    ``longest``: the most characters of a text, with whitespace around it, to which a rule is applied; it keeps the work on a
    record in proportion to its size. ``personal``: the field identifies a person (unlike the ids that an ad's click brings)
    and is left out without consent. ``beside``: another field, whose value the rule needs, too.
    """

    target: str
    need: Need
    rule: Rule
    wrong: Wrong
    longest: int = 8_192
    restricted: bool = False  # the restricted profile allows it
    personal: bool = False
    in_restricted: Rule | None = None  # the rule in the restricted profile, if it differs
    unhashed: Rule | None = None  # the rule if the API hashes
    beside: str | None = None

    @property
    def name(self) -> str:
        """The last part of the target: the name in the API and in metrics."""
        return self.target.rpartition(".")[2]

    def rule_for(self, *, hash_here: bool, restricted: bool) -> Rule:
        """The rule under these settings."""
        if restricted and self.in_restricted is not None:
            return self.in_restricted
        return self.unhashed if self.unhashed is not None and not hash_here else self.rule


UNFIT = Wrong("is of a type that this field can't have", "type")
NOT_IN_MAP = Wrong("is not in its map", "not_in_map")
ABSENT = Wrong("is absent", "absent")
TOO_OLD = Wrong("is older than delivery.max_age_seconds", "too_old")
IN_FUTURE = Wrong("is more than delivery.max_future_seconds ahead", "in_future")
NOT_PUBLIC = Wrong("is not a public address", "not_public")


NUMBERS = ("event_time", "data.value")  # all other fields are text


def too_long(longest: int) -> Wrong:
    """The fault of a text with more characters."""
    return Wrong(f"is longer than {longest} characters", "too_long")


_TRIMMED = Rule("trimmed")
_ID = Rule("trimmed", value_rules.identifier, whole.identifiers)
_DEVICE_ID = Rule("trimmed", value_rules.device_id, whole.device_ids)
_TEXT = Wrong("must be text", "text")
_CLEANED_EMAIL, _CLEANED_PHONE, _HASHED = "trimmed, lower-cased", "digits only", "SHA-256 unless it is one"
_URL = Rule("an absolute http or https URL", network.url, whole.urls, plain=True)


def _user(name: str, need: Need, rule: Rule = _ID, wrong: Wrong = _TEXT, **more: Any) -> Field:
    return Field(f"user_data.{name}", need, rule, wrong, **more)


# In the order in which they are validated: a record is rejected for its first fault.
_FIELDS = (
    Field(
        "event_time",
        Need.REQUIRED,
        Rule("epoch milliseconds", value_rules.time),
        Wrong(
            "must be a time: a timestamp type, ISO-8601 text with an offset, or a number whose unit the schema or the "
            "mapping says; below 10^11 it would be seconds",
            "time",
        ),
        restricted=True,
    ),
    Field(
        "event_source_url",
        Need.REQUIRED,
        _URL,
        Wrong("must be an absolute http or https URL with a host", "url"),
        restricted=True,
        in_restricted=_URL._replace(description="scheme and host of an absolute URL"),
    ),
    Field(
        "data.currency",
        Need.DATA,
        Rule(
            "an ISO 4217 code, upper-cased",
            value_rules.currency,
            Spellings({code: code for code in CURRENCIES}),
            plain=True,
        ),
        Wrong("must be an ISO 4217 code of three letters", "currency"),
        longest=64,
        restricted=True,
    ),
    Field(
        "data.value",
        Need.DATA,
        Rule("a finite number of 0 or more", value_rules.value),
        Wrong("must be a finite number of 0 or more", "value"),
        restricted=True,
    ),
    _user(
        "client_ip_address",
        Need.REQUIRED,
        Rule("an IPv4 or IPv6 address", network.address, whole.addresses, plain=True),
        Wrong("must be an IPv4 or IPv6 address, or a list of them", "address"),
        longest=1_024,
        restricted=True,
    ),
    _user("client_user_agent", Need.REQUIRED, _TRIMMED, restricted=True),
    _user(
        "esi",
        Need.REQUIRED,
        Rule("web or app", value_rules.esi, Spellings(value_rules.SOURCES), plain=True),
        Wrong("must be web or app", "esi"),
        longest=64,
        restricted=True,
    ),
    _user("aleid", Need.IDENTIFIER, restricted=True),
    _user("axwrt", Need.IDENTIFIER),
    _user("alart", Need.IDENTIFIER, restricted=True),
    _user("client_id", Need.IDENTIFIER, restricted=True, personal=True),
    _user(
        "user_id",
        Need.IDENTIFIER,
        _ID,
        Wrong("must be a number in the restricted profile", "not_numeric"),
        restricted=True,
        personal=True,
        in_restricted=Rule("digits", value_rules.numeric, whole.digits, plain=True),
    ),
    _user(
        "email",
        Need.IDENTIFIER,
        Rule(f"{_CLEANED_EMAIL}, {_HASHED}", contacts.email, whole.emails, plain=True),
        Wrong("must have an @, or be a SHA-256 in hex", "no_at"),
        longest=1_024,
        personal=True,
        unhashed=Rule(_CLEANED_EMAIL, contacts.email_plain, whole.plain_emails),
    ),
    _user(
        "phone",
        Need.IDENTIFIER,
        Rule(f"{_CLEANED_PHONE}, {_HASHED}", contacts.phone, whole.phones, plain=True),
        Wrong("must have 7 to 15 digits, or be a SHA-256 in hex", "digits"),
        longest=256,
        personal=True,
        unhashed=Rule(_CLEANED_PHONE, contacts.phone_plain, whole.plain_phones, plain=True),
    ),
    _user(
        "country_code",
        Need.OPTIONAL,
        Rule(
            "an ISO 3166-1 code, upper-cased",
            value_rules.country_code,
            Spellings({country: country for country in COUNTRIES}),
            plain=True,
        ),
        Wrong("must be an ISO 3166-1 code of two letters", "unknown"),
        longest=64,
    ),
    _user(
        "zip",
        Need.OPTIONAL,
        Rule("trimmed; in the US the first five digits", value_rules.zip_code, whole.five_digits),
        Wrong("must be a ZIP or ZIP+4 in the United States", "digits"),
        longest=64,
        personal=True,
        beside="user_data.country_code",
    ),
    _user(
        "os",
        Need.OPTIONAL,
        Rule(
            "ios, android or desktop_os",
            value_rules.operating_system,
            Spellings(OPERATING_SYSTEMS, most=1_000),
            plain=True,
        ),
        Wrong("must be a known operating system", "unknown"),
        longest=64,
    ),
    _user("sid", Need.OPTIONAL, personal=True),
    _user("ifa", Need.OPTIONAL, _DEVICE_ID, personal=True),
    _user("idfv", Need.OPTIONAL, _DEVICE_ID, personal=True),
    Field("dedupe_id", Need.ID, _ID, _TEXT, restricted=True),
    Field("event_id", Need.ID, _ID, _TEXT, restricted=True),
)  # fmt: skip

FIELDS: dict[str, Field] = {field.target: field for field in _FIELDS}
IDENTIFIER_FIELDS = tuple(field.name for field in _FIELDS if field.need is Need.IDENTIFIER)
# For a pixel of the restricted profile, in which the click id ``aleid`` alone is not enough.
RESTRICTED_IDENTIFIERS = ("alart", "client_id", "user_id")
RESTRICTED_FIELDS = tuple(field.name for field in _FIELDS if field.restricted and field.target.startswith("user_data."))
