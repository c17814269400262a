"""Reading the settings: the file, the environment over it, and every fault with its place."""

from __future__ import annotations

import copy
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from stream_capi.config.keys import KeySource, resolve_pixel_id
from stream_capi.config.rules import Fault, faults_of, nearest
from stream_capi.config.settings import Pixel, Settings, Source
from stream_capi.errors import ConfigurationError

PREFIX = "STREAM_CAPI_"
_PATHS = {"pixels": ("pixel_id_file", "api_key_file"), "sources": ("schema_file",), "endpoint": ("ca_file",)}
_INLINE_KEY = "a key doesn't belong in a file of settings; use api_key_env or api_key_file"


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of ``path`` with the environment's over them.

    Raises ConfigurationError with every fault: each says the file or the variable, the key and what to do. No value
    of a key or a password is ever in it.
    """
    environ = os.environ if environ is None else environ
    data = _read(path)
    origins, faults = _override(data, environ)
    _resolve_paths(data, path.parent)
    faults += _inline_keys(data)
    settings, wrong = _validated(data)
    faults += wrong
    if settings is not None:
        faults += list(faults_of(settings))
        faults += list(_secrets(settings, environ))
    if faults or settings is None:
        unique = dict.fromkeys(faults)
        raise ConfigurationError([f"{origins.get(key, path)}: {key}: {what}" for key, what in unique])
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigurationError([f"{path}: there is no such file; name the configuration with --config"]) from None
    except IsADirectoryError:
        raise ConfigurationError([f"{path}: is a folder, not a file"]) from None
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: is not UTF-8 text"]) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}: is not TOML: {error}"]) from None


def _override(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, str], list[Fault]]:
    """Put the environment's values over the file's. Returns which key came from which variable."""
    origins: dict[str, str] = {}
    faults: list[Fault] = []
    named = {pixel.get(key) for pixel in _tables(data, "pixels") for key in ("api_key_env", "pixel_id_env")}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in named:
            continue
        steps = variable.removeprefix(PREFIX).lower().split("__")
        key = steps[0] + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps[1:])
        origins[key] = variable
        if steps[0] not in Settings.model_fields:
            known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
            faults.append((key, f"is not a setting{nearest(variable, known)}"))
        elif len(steps) == 1 or not _put(data, steps, _value(steps, environ[variable])):
            faults.append((key, f"names no key; write {PREFIX}SECTION__KEY, with __0__ for the first of a list"))
    return origins, faults


def _value(steps: Sequence[str], text: str) -> Any:
    """A variable's value by what its key takes: a text as it stands, everything else as JSON where that reads."""
    model: Any = {"pixels": Pixel, "sources": Source}.get(steps[0]) or _section(steps[0])
    field = model.model_fields.get(steps[-1])
    if field is not None and (
        field.annotation is str or str in get_args(field.annotation) or _is_text(field.annotation)
    ):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_text(annotation: Any) -> bool:
    return all(isinstance(choice, str) for choice in get_args(annotation)) and bool(get_args(annotation))


def _section(name: str) -> Any:
    annotation = Settings.model_fields[name].annotation
    choices = [choice for choice in (annotation, *get_args(annotation)) if isinstance(choice, type)]
    return next(choice for choice in choices if issubclass(choice, BaseModel))


def _put(data: dict[str, Any], steps: Sequence[str], value: Any) -> bool:
    place: Any = data
    for step, following in pairwise(steps):
        empty: Any = [] if following.isdigit() else {}
        if isinstance(place, list):
            at = int(step) if step.isdigit() else -1
            if not 0 <= at <= len(place):
                return False
            if at == len(place):
                place.append(empty)
            place = place[at]
        elif isinstance(place, dict):
            place = place.setdefault(step, empty)
        else:
            return False
    if not isinstance(place, dict):
        return False
    place[steps[-1]] = value
    return True


def _tables(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    given = data.get(name)
    tables = given if isinstance(given, list) else [given]
    return [table for table in tables if isinstance(table, dict)]


def _resolve_paths(data: Mapping[str, Any], folder: Path) -> None:
    """Paths are meant from the file they stand in, wherever the program is started."""
    for section, keys in _PATHS.items():
        for table in _tables(data, section):
            for key in keys:
                if isinstance(table.get(key), str) and table[key]:
                    table[key] = str(folder / table[key])


def _inline_keys(data: Mapping[str, Any]) -> list[Fault]:
    faults = []
    for at, pixel in enumerate(_tables(data, "pixels")):
        for name in [name for name in pixel if name in ("api_key", "key", "token", "api_token")]:
            faults.append((f"pixels[{at}].{name}", _INLINE_KEY))
            del pixel[name]
    return faults


def _validated(data: dict[str, Any]) -> tuple[Settings | None, list[Fault]]:
    """The settings and the faults of single values.

    A wrong value is told and taken out, so that the rules over several values can still be asked about the rest.
    """
    faults: list[Fault] = []
    rest = copy.deepcopy(data)
    for _ in range(5):
        try:
            return Settings.model_validate(rest), faults
        except ValidationError as error:
            faults += [fault for fault in _explained(error) if fault not in faults]
            for wrong in error.errors(include_url=False, include_input=False):
                _take_out(rest, wrong["loc"], wrong["type"] == "missing")
    return None, faults


def _take_out(data: dict[str, Any], loc: Sequence[Any], missing: bool) -> None:
    if missing and len(loc) == 3 and loc[2] in ("name", "topic"):
        data[loc[0]][loc[1]][loc[2]] = f"unnamed-{loc[1]}"
        return
    path = list(loc[:-1] if missing else loc)
    if len(loc) == 1 and loc[0] in ("pixels", "sources"):  # its entries were wrong, and are told on their own
        return
    place: Any = data
    while len(path) > 1 and isinstance(place, dict | list):
        step = path.pop(0)
        known = step in place if isinstance(place, dict) else isinstance(step, int) and step < len(place)
        if not known or not isinstance(place[step], dict | list):
            path = [step]
            break
        place = place[step]
    if isinstance(place, dict):
        place.pop(path[0], None)


def _explained(error: ValidationError) -> Iterator[Fault]:
    for fault in error.errors(include_url=False, include_input=False):
        loc = [step for step in fault["loc"] if step not in ("function-before", "bool", "int", "float", "str")]
        key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).removeprefix(".")
        if fault["type"] == "extra_forbidden":
            yield key, f"unknown key{nearest(str(loc[-1]), _known(loc))}"
        elif fault["type"] == "missing":
            yield key, "is missing"
        elif fault["type"] == "too_short" and len(loc) == 1:
            if len(error.errors()) == 1 or fault["ctx"]["actual_length"] == 0:
                yield key, f"needs at least one entry: write [[{key}]]"
        else:
            yield key, fault["msg"].removeprefix("Value error, ").replace("Input should", "should")


def _known(loc: Sequence[Any]) -> list[str]:
    """The keys that the table of an unknown key takes."""
    if len(loc) == 1:
        return list(Settings.model_fields)
    model: Any = {"pixels": Pixel, "sources": Source}.get(str(loc[0])) or _section(str(loc[0]))
    return list(model.model_fields)


def _secrets(settings: Settings, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Keys and ids that can't be read are faults of the settings, told with the others."""
    for pixel in settings.pixels:
        readers: list[Callable[[Pixel, Mapping[str, str]], object]] = []
        if pixel.api_key_env or pixel.api_key_file:
            readers.append(KeySource)
        if pixel.pixel_id_env or pixel.pixel_id_file:
            readers.append(resolve_pixel_id)
        for reader in readers:
            try:
                reader(pixel, environ)
            except ConfigurationError as error:
                for line in error.faults:
                    key, _, what = line.partition(": ")
                    yield key, what
