"""Environment variables that override the file: ``STREAM_CAPI_SECTION__KEY``, ``STREAM_CAPI_PIXELS__0__NAME``.

A text is written as it is; a number, a list or a table as JSON, and a table is merged into the file's. In the free keys of
``properties`` and ``fields`` each dot is written as ``__`` (``STREAM_CAPI_KAFKA__PROPERTIES__SASL__PASSWORD``).

``STREAM_CAPI_DEFAULT__SECTION__KEY`` applies only if the file doesn't set the key: a packager's default, in place of the
program's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from stream_capi.config.settings import Settings
from stream_capi.config.shape import KeyFault, Step, is_list, is_text, key_of, keys_of, nearest, section_at

PREFIX = "STREAM_CAPI_"
DEFAULT = f"{PREFIX}DEFAULT__"
DOTTED = ("properties", "fields")  # their keys are names with dots
INLINE_KEYS = ("api_key", "key", "token", "api_token")

# Kubernetes sets variables for each service of a pod's namespace; those of a service "stream-capi" have our prefix.
_KUBERNETES = re.compile(r"[A-Z0-9_]*(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_KUBERNETES_URL = re.compile(r"(tcp|udp|sctp)://")


def overlay(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, str], list[KeyFault]]:
    """Put the environment's values into ``data``. Returns which key came from which variable, and the faults."""
    origins: dict[str, str] = {}
    faults: list[KeyFault] = []
    for variable in sorted(filter(_is_ours, environ), key=_in_order):
        if "__" not in variable and _is_of_kubernetes(variable, environ[variable]):
            continue
        steps = _steps(variable)
        fault = _fault(steps, variable)
        if not fault and variable.startswith(DEFAULT) and _is_set(data, steps):
            continue
        fault = fault or _put(data, steps, _value(steps, environ[variable]), variable)
        if fault:
            faults.append(fault)
        else:
            origins[key_of(steps)] = variable
    named = set(_variables_of_pixels(data))  # a pixel's key may be in a variable with our prefix
    return origins, [fault for fault in faults if fault.variable not in named]


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX)


def _in_order(variable: str) -> list[tuple[int, str]]:
    return [(int(step), "") if _is_index(step) else (-1, step) for step in variable.split("__")]


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) <= 4


def _is_of_kubernetes(variable: str, value: str) -> bool:
    rest = variable.removeprefix(PREFIX)
    return bool(_KUBERNETES.fullmatch(rest) or (rest.endswith("PORT") and _KUBERNETES_URL.match(value)))


def _name(variable: str) -> str:
    return variable.removeprefix(DEFAULT).removeprefix(PREFIX)


def _is_set(data: Mapping[str, Any], steps: Sequence[Step]) -> bool:
    section = data.get(str(steps[0]), {})
    return not isinstance(section, dict) or steps[1] in section


def _steps(variable: str) -> list[Step]:
    steps = _name(variable).lower().split("__")
    for at, step in enumerate(steps[1:], 1):
        if step in DOTTED and steps[at + 1 :]:
            steps = [*steps[: at + 1], ".".join(steps[at + 1 :])]
            break
    return [int(step) if _is_index(step) else step for step in steps]


def _fault(steps: Sequence[Step], variable: str) -> KeyFault | None:
    """What is wrong with a variable's name, if anything."""
    first, last = str(steps[0]), steps[-1]
    if first == "pixels" and last in INLINE_KEYS:
        return KeyFault("", "a key is not a setting; name the variable that holds it in api_key_env", variable=variable)
    if first not in Settings.model_fields:
        return _unknown(variable)
    if variable.startswith(DEFAULT) and (is_list(first) or len(steps) != 2):
        return KeyFault("", "a default can be set only for one key, in a section that is not a list", variable=variable)
    section = section_at(steps[:-1])
    if len(steps) == 1 or last in ("", *DOTTED) or isinstance(last, int):
        known = section is not None and last != ""
    elif section is not None:
        known = last in keys_of(section)
    else:
        known = steps[-2] in DOTTED and section_at(steps[:-2]) is not None
        if not known and len(steps) > 2:
            return KeyFault("", "can't name a key inside this table; write the whole table as JSON", variable=variable)
    return None if known else _unknown(variable)


def _unknown(variable: str) -> KeyFault:
    found = nearest(_name(variable), _known(variable))
    hint = f'; did you mean "{variable.removesuffix(_name(variable))}{found}"?' if found else ""
    return KeyFault("", f"is not a setting of this program{hint}", variable=variable)


def _known(variable: str) -> Iterator[str]:
    """The names that could have been meant, with the index that was written."""
    index = next((step for step in variable.split("__") if _is_index(step)), "0")
    for name in Settings.model_fields:
        section = section_at([name])
        for key in keys_of(section) if section else ():
            yield f"{name.upper()}__{f'{index}__' if is_list(name) else ''}{key.upper()}"


def _value(steps: Sequence[Step], text: str) -> Any:
    if len(steps) > 2 and steps[-2] == "properties":
        return text
    if len(steps) > 2 and steps[-2] == "fields" and not text.startswith(("{", "[", '"')):
        return text
    section = section_at(steps[:-1])
    if section is not None and steps[-1] in section.model_fields and is_text(section, str(steps[-1])):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # the key's own validation reports what it must be


def _put(data: dict[str, Any], steps: Sequence[Step], value: Any, variable: str) -> KeyFault | None:
    place: Any = data
    for step, following in pairwise(steps):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step == len(place):
                place.append(empty)
            place = place[step]
        else:
            place = place.setdefault(step, empty)
        if isinstance(following, int) and isinstance(place, list) and following > len(place):
            return KeyFault("", f"leaves out index {len(place)}; indices begin at 0", variable=variable)
        if not isinstance(place, list if isinstance(following, int) else dict):
            return KeyFault(
                "", f"doesn't fit into {key_of(steps[:-1])}, which is set to a value of another type", variable=variable
            )
    last: Any = steps[-1]
    if isinstance(place, list) and last == len(place):
        place.append(value)
    elif isinstance(place, dict) and isinstance(place.get(last), dict) and isinstance(value, dict):
        _merge(place[last], value)
    else:
        place[last] = value
    return None


def _merge(into: dict[str, Any], value: Mapping[str, Any]) -> None:
    for key, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(key), dict):
            _merge(into[key], new)
        else:
            into[key] = new


def _variables_of_pixels(data: Mapping[str, Any]) -> Iterator[str]:
    pixels = data.get("pixels")
    for pixel in pixels if isinstance(pixels, list) else [pixels]:
        if isinstance(pixel, dict):
            yield from (pixel[key] for key in ("api_key_env", "pixel_id_env") if isinstance(pixel.get(key), str))
