"""Loads the settings: the file, overridden by the environment. Every fault is reported with its place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stream_capi.config.consistency import faults_of
from stream_capi.config.environment import DOTTED, INLINE_KEYS, overlay
from stream_capi.config.files import content
from stream_capi.config.secrets import Unreadable, read_password, unreadable
from stream_capi.config.settings import TARGETS, Settings
from stream_capi.config.shape import KeyFault, Step, key_of, keys_of, meant, nearest, outers, section_at
from stream_capi.errors import ConfigurationError

_PATHS = {
    "kafka": ("sasl_password_file",),
    "pixels": ("pixel_id_file", "api_key_file"),
    "sources": ("schema_file", "schema_folder"),
    "endpoint": ("ca_file",),
    "suppress": ("file",),
}
_INLINE_KEY = "a key doesn't belong in a file of settings; use api_key_env or api_key_file"
_REQUIRED = {"pixels": "name", "sources": "topic"}  # the required key of each entry
_LISTS = tuple(_REQUIRED)
_FREE = (*DOTTED, "events")  # tables of free keys, from which a wrong entry is removed alone
_DEEPEST = 64  # dots in a free key; deeper tables are not flattened
_HARMLESS = re.compile(r"[\w .-]{0,40}")


def load(path: Path, environ: Mapping[str, str] | None = None, *, keys: bool = True, workers: int = 1) -> Settings:
    """Load the settings of ``path``, overridden by the environment (contract, section 3).

    :param keys: whether the pixels' keys and ids must be readable now; a command that sends nothing doesn't need them.
    :param workers: how many processes these settings are for.
    :raises ConfigurationError: with one line for each fault: the file or variable, the key and what to do.
        It never contains the value of a key, a password or a URL.
    """
    environ = os.environ if environ is None else environ
    data = _read(path)
    _normalise(data)
    origins, faults = overlay(data, environ)
    _normalise(data)
    _resolve_paths(data, path.parent)
    faults += _inline_keys(data)
    names = _names(data)
    settings, wrong = _validated(data, faults)
    reported = {key for key in (*(fault.key for fault in faults), *wrong) if key}
    if settings is not None:
        concluded = [*faults_of(settings, names, workers), *(_unreadable(settings, environ) if keys else ())]
        around = {outer for key in reported for outer in outers(key)}
        faults += [fault for fault in concluded if not _follows(fault, reported, around)]
    if faults or settings is None:
        raise ConfigurationError(list(dict.fromkeys(_line(fault, origins, path) for fault in faults)))
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(content(path).decode("utf-8-sig"))
    except FileNotFoundError:
        why = "there is no such file; name the configuration with --config"
    except IsADirectoryError:
        why = "is a folder, not a file"
    except OSError as error:
        why = f"can't be read: {error.strerror}"
    except UnicodeDecodeError:
        why = "is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        why = f"is not TOML: {error}"
    except (ValueError, RecursionError):  # a number of thousands of digits, or brackets nested too deep
        why = "can't be parsed as TOML"
    raise ConfigurationError([f"{path}: {why}"])


def _normalise(data: dict[str, Any]) -> None:
    """Make a list of a single pixel or source, and flatten nested tables: TOML reads a dotted key without quotes as such."""
    for name in _LISTS:
        if isinstance(data.get(name), dict):
            data[name] = [data[name]]
    for section in data.values():
        for table in section if isinstance(section, list) else [section]:
            for name in DOTTED if isinstance(table, dict) else ():
                if isinstance(table.get(name), dict):
                    table[name] = dict(_flat(table[name]))


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        rule = before + key in TARGETS or (isinstance(value, dict) and not {"path", "const", "unit"}.isdisjoint(value))
        if isinstance(value, dict) and value and not rule and before.count(".") < _DEEPEST:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _tables(data: Mapping[str, Any], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    given = data.get(name)
    for at, table in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(table, dict):
            yield at, table


def _resolve_paths(data: Mapping[str, Any], folder: Path) -> None:
    """Resolve relative paths from the folder of the configuration file, not from the working directory."""
    for section, names in _PATHS.items():
        for _, table in _tables(data, section):
            for name in names:
                if isinstance(table.get(name), str) and table[name]:
                    table[name] = str(folder / table[name])


def _inline_keys(data: Mapping[str, Any]) -> list[KeyFault]:
    """Report API keys that are written into the file, and drop them."""
    faults = []
    for at, pixel in _tables(data, "pixels"):
        for name in [name for name in pixel if name in INLINE_KEYS]:
            faults.append(KeyFault(f"pixels[{at}].{name}", _INLINE_KEY))
            del pixel[name]
    return faults


def _names(data: Mapping[str, Any]) -> list[str] | None:
    """The pixels' names as written, valid or not; None if a pixel has none."""
    given = data.get("pixels", [])
    names = [pixel["name"] for _, pixel in _tables(data, "pixels") if isinstance(pixel.get("name"), str)]
    return names if isinstance(given, list) and len(names) == len(given) else None


def _validated(data: dict[str, Any], faults: list[KeyFault]) -> tuple[Settings | None, list[str]]:
    """Validate, and remove wrong values, so that the rules over several values can still check the rest.

    The faults of single values are added to ``faults``. Returns the settings, and the keys that were removed or that an
    unknown key was probably meant for.
    """
    wrong: list[str] = []
    for attempt in range(3):
        try:
            return Settings.model_validate(data), wrong
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                fault, probably = _explained(detail)
                wrong += [probably, _taken_out(data, detail["loc"])]
                if attempt == 0:  # later faults are consequences of what was removed
                    faults.append(fault)
    return None, wrong


def _explained(error: Any) -> tuple[KeyFault, str]:
    """The fault, and the known key that an unknown one was probably meant for."""
    loc: tuple[Step, ...] = error["loc"]
    key = key_of(loc)
    if error["type"] != "extra_forbidden":
        return KeyFault(key, _said(error)), key
    name, known = str(loc[-1]), keys_of(section_at(loc[:-1]) or Settings)
    probably = key_of([*loc[:-1], nearest(name, known)])
    elsewhere = [section for section in Settings.model_fields if name in keys_of(section_at([section]) or Settings)]
    if not nearest(name, known) and elsewhere:
        return KeyFault(key, f"unknown key; it belongs in [{elsewhere[0]}]"), key
    return KeyFault(key, f"unknown key{meant(name, known)}"), probably


def _said(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        choices = ", ".join(re.findall(r"'([^']*)'", context["expected"]))
        given = error["input"]
        # People paste the API key itself as ``authorization``, so its value is never repeated.
        shown = isinstance(given, str) and _HARMLESS.fullmatch(given) and error["loc"][-1] != "authorization"
        return f'"{given}" is not one of {choices}' if shown else f"must be one of {choices}"
    texts = {
        "missing": "is missing",
        "greater_than": "must be above {gt:g}",
        "greater_than_equal": "must be at least {ge:g}",
        "less_than_equal": "must be at most {le:g}",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "dict_type": "must be a table",
        "model_type": "must be a table",
        "model_attributes_type": "must be a table",
        "tuple_type": "must be a list",
    }
    if kind == "tuple_type" and error["loc"][0] in _LISTS and len(error["loc"]) == 1:
        return f"must be a list of tables: write [[{error['loc'][0]}]]"
    if kind == "value_error":
        return str(context["error"])
    return texts[kind].format(**context) if kind in texts else f"is invalid: {kind.replace('_', ' ')}"


def _taken_out(data: dict[str, Any], loc: Sequence[Step]) -> str:
    """Remove the smallest part that holds the wrong value and has a default. Returns the key of that part."""
    at = 2 if loc[0] in _LISTS else 1
    if len(loc) <= at:  # a section or an entry that is no table
        if len(loc) == 2:
            data[str(loc[0])][loc[1]] = {_REQUIRED[str(loc[0])]: f"unnamed-{loc[1]}"}
        else:
            data.pop(str(loc[0]), None)
        return key_of(loc)
    place = data[str(loc[0])]
    if at == 2:
        place = place[loc[1]]
    if loc[at] in _FREE and len(loc) > at + 1:
        place, at = place[loc[at]], at + 1
    place.pop(loc[at], None)
    if loc[at] == _REQUIRED.get(str(loc[0])):
        place[loc[at]] = f"unnamed-{loc[1]}"
    return key_of(loc[: at + 1])


def _follows(fault: KeyFault, reported: Set[str], around: Set[str]) -> bool:
    """Whether a fault is only a consequence of one at the keys ``reported``. ``around``: these and all that enclose them."""
    of = fault.of or (fault.key,)
    if fault.key.startswith("pixels") and any(f"{fault.key}.{name}" in reported for name in INLINE_KEYS):
        return any(key.endswith(".api_key_env") for key in of)
    return any(other in around or not reported.isdisjoint(outers(other)) for other in of)


def _unreadable(settings: Settings, environ: Mapping[str, str]) -> Iterator[KeyFault]:
    if settings.kafka.sasl_password_file is not None:
        try:
            read_password(settings.kafka)
        except Unreadable as fault:
            yield KeyFault(f"kafka.{fault.attribute}", fault.why)
    for at, pixel in enumerate(settings.pixels):
        for error in unreadable(pixel, environ):
            yield KeyFault(f"pixels[{at}].{error.attribute}", error.why)


def _line(fault: KeyFault, origins: Mapping[str, str], path: Path) -> str:
    if fault.variable:
        return f"{fault.variable}: {fault.what}"
    inside = [key for key in outers(fault.key) if key in origins]
    origin = origins[inside[-1]] if inside else path
    return f"{origin}: {fault.key}: {fault.what}"
