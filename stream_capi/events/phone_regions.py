"""Completes phone numbers with a country code. Imported, with its library, only if a source has ``phone_region``."""

from __future__ import annotations

import phonenumbers
from phonenumbers import PhoneNumber, ValidationResult

from stream_capi.events import contacts, whole
from stream_capi.events.fields import FIELDS, Field, Need, Rule
from stream_capi.events.value_rules import Wrong

TARGET = "phone_region"
IMPOSSIBLE = Wrong("must be a number that its country can have", "impossible")

_COUNTRY = FIELDS["user_data.country_code"]
REGION = _COUNTRY._replace(target=TARGET, need=Need.OPTIONAL)


def phone_field(field: Field) -> Field:
    """The phone's field, with rules that need the country, too. There is no fast rule for whole columns."""
    cleaned = "completed for the country, digits only"
    unhashed = Rule(cleaned, phone_plain, whole.careful_only, plain=True)
    hashed = contacts.hashing(phone_plain)
    rule = Rule(f"{cleaned}, SHA-256 unless it is one", hashed, whole.careful_only, plain=True)
    return field._replace(rule=rule, unhashed=unhashed, beside=TARGET)


def phone_plain(text: str, region: str | None) -> str | Wrong | None:
    """The digits of a number with its country code. Without a region: the digits as they were written."""
    return contacts.number_or_hash(
        text, lambda number: completed(number, region) if region else contacts.phone_digits(number)
    )


def completed(number: str, region: str) -> str | Wrong:
    """A number as it is dialled in a country, completed with its country code.

    ``00`` may mean ``+`` even if the country dials another prefix. Both readings are tried, and a valid number is preferred
    to one that is only possible.
    """
    written = [_parsed(number, region)]
    if (rest := number.lstrip(" (+")).startswith("00"):
        written.append(_parsed("+" + rest.lstrip("0"), region))
    possible = [one for one in written if one is not None and _is_possible(one)]
    if len(possible) > 1:
        possible.sort(key=phonenumbers.is_valid_number, reverse=True)
    for one in possible:
        found = f"{one.country_code}{phonenumbers.national_significant_number(one)}"
        if 7 <= len(found) <= 15:
            return found
    return IMPOSSIBLE


def _parsed(number: str, region: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None


def _is_possible(number: PhoneNumber) -> bool:
    """Whether a number is not all zeros and has a possible length.

    A local number, without area code, has no possible length: it can't be completed.
    """
    reason = phonenumbers.is_possible_number_with_reason(number)
    return bool(number.national_number and reason == ValidationResult.IS_POSSIBLE)
