"""Validates request bodies against the API's document itself, not against the program's own rules (contract, section 5).

The stand-in validates every request with it, so a mistake that the transform and its tests share is found here. Beyond the
document's schema it checks the rules in the document's prose (an identifier for each event, data for leads alone), and
refuses keys that the document lacks. Faults name places and rules, never a value of an event or a key that is not in the
document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import yaml

from stream_capi.resources import API_DOCUMENT, read_shipped

if TYPE_CHECKING:
    from jsonschema import Draft4Validator
    from jsonschema.exceptions import ValidationError

MAX_FAULTS = 20  # reported for one batch: enough to see a fault that all its events have
IDENTIFIERS = ("aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone")  # UserData's description

_SCHEME = re.compile(r"https?://[^\s]+", re.ASCII | re.IGNORECASE)


def prepare() -> None:
    """Read and compile the document now, so that the first batch doesn't wait for it.

    The validator's library is imported here, too: that takes long, and most commands don't need it.
    """
    _validator()


def read_batch(body: bytes) -> tuple[Any, list[str]]:
    """The body as JSON, and what is wrong with it as an EventBatch; an empty list if nothing is."""
    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, ["the body is not JSON in UTF-8"]
    repeated = _repeated_keys(body)
    return batch, [*repeated, *faults_of(batch)][:MAX_FAULTS]


def faults_of(batch: Any) -> list[str]:
    """What is wrong with a batch, each fault with its place; an empty list if nothing is."""
    faults = [_error_message(error) for error in _validator().iter_errors(batch)]
    if not faults:
        events = batch["events"]
        faults += [] if events else ["events: must have at least one event"]
        faults += [f"events[{at}].{fault}" for at, event in enumerate(events) for fault in _beyond_the_schema(event)]
    return faults[:MAX_FAULTS]


def _beyond_the_schema(event: Mapping[str, Any]) -> Iterator[str]:
    if not any(event["user_data"].get(name) for name in IDENTIFIERS):
        yield f"user_data: must have at least one of {', '.join(IDENTIFIERS)}"
    if event["name"] == "page_view" and event["data"] is not None:
        yield "data: must be null for page_view"
    if event["name"] == "generate_lead" and event["data"] is None:
        yield "data: must be an object for generate_lead"


def _repeated_keys(body: bytes) -> list[str]:
    """Report a key that occurs twice in one object: parsers differ in which of the two values they take."""
    repeated: list[str] = []

    def note(pairs: Sequence[tuple[str, Any]]) -> None:
        if len(pairs) != len({name for name, _ in pairs}):
            repeated.append("an object has the same key twice")

    json.loads(body, object_pairs_hook=note)
    return repeated[:1]


# The document


@cache
def _validator() -> Draft4Validator:
    """The validator of the document's EventBatch: of draft 4, where 1.0 is no integer, as OpenAPI 3.0 is based on that."""
    from jsonschema import Draft4Validator, FormatChecker

    formats = FormatChecker(formats=())
    formats.checks("int64")(_is_int64)
    formats.checks("uri")(_is_absolute_url)
    schemas = yaml.safe_load(read_shipped(API_DOCUMENT))["components"]["schemas"]
    schema = _closed(schemas["EventBatch"], schemas)
    Draft4Validator.check_schema(schema)
    return Draft4Validator(schema, format_checker=formats)


def _closed(schema: Any, schemas: Mapping[str, Any]) -> Any:
    """A schema with its references resolved and its objects closed to unknown keys."""
    if isinstance(schema, list):
        return [_closed(each, schemas) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _closed(schemas[schema["$ref"].removeprefix("#/components/schemas/")], schemas)
    closed = {name: _closed(value, schemas) for name, value in schema.items()}
    if closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _is_int64(value: object) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _is_absolute_url(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        parts = urlsplit(value)
        return _SCHEME.fullmatch(value) is not None and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        return False


# Faults for people


def _error_message(error: ValidationError) -> str:
    from jsonschema.exceptions import best_match

    if error.context:
        error = best_match(iter([error])) or error
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path).lstrip(".")
    return f"{where or 'the body'}: {_rule(error)}"


def _rule(error: ValidationError) -> str:
    wanted: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "required":
            return f"lacks {', '.join(name for name in wanted if name not in instance)}"
        case "additionalProperties":
            return "has a key that the document lacks"
        case "type":
            return f"must be of type {wanted}"
        case "enum":
            return f"must be one of {', '.join(map(str, wanted))}"
        case "maxItems":
            return f"must have at most {wanted} events"
        case "minimum":
            return f"must be {wanted} or more"
        case "format":
            return "must be an absolute http or https URL" if wanted == "uri" else f"must be of format {wanted}"
        case "oneOf":
            return "fits none of the forms that the document allows"
    return f"breaks the document's rule on {error.validator}"
