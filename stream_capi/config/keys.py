"""API keys and pixel ids: read from the environment or a file, never shown, and read again when the file changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stream_capi.config.settings import Pixel
from stream_capi.errors import ConfigurationError


class Secret:
    """A text that shows itself only when asked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class KeySource:
    """A pixel's API key. A key in a file may be rotated while the program runs."""

    def __init__(self, pixel: Pixel, environ: Mapping[str, str]) -> None:
        """Read the key. Raises ConfigurationError where there is none."""
        self._pixel = pixel
        self._environ = environ
        self._stamp = self._read_stamp()
        self._secret = self._load()

    def read(self) -> Secret:
        """The present key."""
        return self._secret

    def changed(self) -> bool:
        """Look whether the file changed, and take the new key. A file that is gone or empty keeps the old key."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        try:
            secret = self._load()
        except ConfigurationError:  # mid-rotation: looked at again the next time
            return False
        self._stamp = stamp
        changed, self._secret = secret != self._secret, secret
        return changed

    def _read_stamp(self) -> tuple[int, int, int] | None:
        if self._pixel.api_key_file is None:
            return None
        try:
            stat = os.stat(self._pixel.api_key_file)
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _load(self) -> Secret:
        where = f"pixels.{self._pixel.name}"
        text = _read(where, "api_key", self._pixel.api_key_env, self._pixel.api_key_file, self._environ)
        if any(ord(sign) < 33 or ord(sign) > 126 for sign in text):
            raise ConfigurationError([f"{where}.api_key: holds a sign that no HTTP header may"])
        return Secret(text)


def resolve_pixel_id(pixel: Pixel, environ: Mapping[str, str]) -> str:
    """The pixel's id (the Axon Event Key). Raises ConfigurationError where there is none."""
    if pixel.pixel_id is not None:
        return pixel.pixel_id
    return _read(f"pixels.{pixel.name}", "pixel_id", pixel.pixel_id_env, pixel.pixel_id_file, environ)


def _read(where: str, what: str, variable: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    if variable is not None:
        text = environ.get(variable, "").strip()
        if not text:
            raise ConfigurationError(
                [f"{where}.{what}_env: the environment has no {variable}; set it, or use {what}_file"]
            )
        return text
    try:
        text = Path(file or "").read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"{where}.{what}_file: {file} can't be read: {type(error).__name__}"]) from None
    if not text:
        raise ConfigurationError([f"{where}.{what}_file: {file} is empty"])
    return text
