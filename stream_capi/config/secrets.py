"""API keys, pixel ids and the brokers' password: read from the environment or a file, never shown.

A file is read again when it changes. No message repeats the name of a variable or file: people paste the key itself there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from stream_capi.config.settings import KafkaSection, PixelSection, Settings
from stream_capi.errors import ConfigurationError

_MAX_BYTES = 16_384
_NAMED = re.compile(r"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*=[^=].*")  # doesn't match a key that ends in base64 padding
_TLS_KEY = "ssl.key.location"


class Secret:
    """A text that its ``repr`` doesn't show and that can't be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the code that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


class Unreadable(Exception):
    """A key, an id or a password that can't be read: the attribute that names it, and why."""

    def __init__(self, attribute: str, why: str) -> None:
        super().__init__(attribute, why)
        self.attribute = attribute
        self.why = why


class _RotatedSecret:
    """A secret that may be rotated while the program runs.

    ``fault`` says why the last read failed; it is empty if that succeeded.
    """

    def __init__(self, secret: Secret) -> None:
        self.fault = ""
        self._secret = secret

    def _read_again(self, read: Callable[[], Secret]) -> bool:
        """Read the secret; returns whether it has changed. If it is missing or invalid, the old one stays."""
        try:
            secret = read()
        except Unreadable as error:  # perhaps in the middle of a rotation: the next call reads again
            self.fault = error.why
            return False
        self.fault = ""
        changed, self._secret = secret != self._secret, secret
        return changed


class KeySource(_RotatedSecret):
    """A pixel's API key. A key in a file may be rotated."""

    def __init__(self, pixel: PixelSection, environ: Mapping[str, str]) -> None:
        """Read the key. Raises ConfigurationError if that fails."""
        self._pixel = pixel
        self._environ = environ
        try:
            super().__init__(read_key(pixel, environ))
        except Unreadable as error:
            raise _error_for(pixel, error) from None

    def read(self) -> Secret:
        """The current key. No I/O."""
        return self._secret

    def changed(self) -> bool:
        """Read the file again; returns whether the key has changed. If the file is missing or invalid, the old key stays.

        The contents are compared, not the file's size and times: keys have the same length, and on a file system with
        coarse times a second rotation soon after the first would be missed.
        """
        if self._pixel.api_key_file is None:
            return False
        return self._read_again(lambda: read_key(self._pixel, self._environ))


class PasswordFile(_RotatedSecret):
    """The brokers' password, from the file that ``kafka.sasl_password_file`` names."""

    def __init__(self, kafka: KafkaSection) -> None:
        """Read the password. Raises ConfigurationError if that fails."""
        self._kafka = kafka
        try:
            super().__init__(read_password(kafka))
        except Unreadable as error:
            raise ConfigurationError([f"kafka.{error.attribute}: {error.why}"]) from None

    @property
    def login(self) -> tuple[str, str]:
        """The user and the current password. No I/O."""
        return str(self._kafka.properties.get("sasl.username", "")), self._secret.reveal()

    def changed(self) -> bool:
        """Read the file again; returns whether the password has changed. If it is missing or invalid, the old one stays."""
        return self._read_again(lambda: read_password(self._kafka))


def password_file(kafka: KafkaSection) -> PasswordFile | None:
    """The file with the brokers' password, if one is configured. Raises ConfigurationError."""
    return None if kafka.sasl_password_file is None else PasswordFile(kafka)


def read_password(kafka: KafkaSection) -> Secret:
    """The brokers' password, without a byte order mark before it and line ends behind it. Raises Unreadable."""
    attribute = "sasl_password_file"
    text = _text_of(attribute, kafka.sasl_password_file or "").removeprefix("\ufeff").rstrip("\r\n")
    if not text:
        raise Unreadable(attribute, "names a file that is empty")
    if any(sign in text for sign in "\0\r\n"):
        raise Unreadable(attribute, "must hold the password alone, on one line")
    return Secret(text)


def read_key(pixel: PixelSection, environ: Mapping[str, str]) -> Secret:
    """The pixel's API key. Raises Unreadable."""
    attribute, text = _read("api_key", pixel.api_key_env, pixel.api_key_file, environ)
    _alone(attribute, text)
    if any(not "!" <= sign <= "~" for sign in text):
        raise Unreadable(
            attribute, 'must be the key alone, without "Bearer", spaces, control characters or signs beyond ASCII'
        )
    return Secret(text)


def _alone(attribute: str, text: str) -> None:
    """Raise Unreadable for quotes or a NAME= that were copied with the key: the API's refusal wouldn't say what is wrong."""
    if text[:1] in ("'", '"') or text[-1:] in ("'", '"'):
        raise Unreadable(attribute, "has quotes around it, which would be sent as part of it; leave them out")
    if _NAMED.fullmatch(text):
        raise Unreadable(attribute, "has NAME= before it, as in an env file; leave only what is after it")


def resolve_pixel_id(pixel: PixelSection, environ: Mapping[str, str]) -> str:
    """The pixel's id (the Axon Event Key). Raises ConfigurationError if it can't be read."""
    try:
        return read_pixel_id(pixel, environ)
    except Unreadable as error:
        raise _error_for(pixel, error) from None


def read_pixel_id(pixel: PixelSection, environ: Mapping[str, str]) -> str:
    """The pixel's id. Raises Unreadable."""
    attribute, text = "pixel_id", pixel.pixel_id or ""
    if not text:
        attribute, text = _read("pixel_id", pixel.pixel_id_env, pixel.pixel_id_file, environ)
    _alone(attribute, text)
    if not text.isprintable() or " " in text:
        raise Unreadable(attribute, "must be the id alone, without spaces or control characters")
    return text


def unreadable(pixel: PixelSection, environ: Mapping[str, str]) -> Iterator[Unreadable]:
    """Yield what can't be read of a pixel's key and id. A key or id that isn't configured at all yields nothing."""
    if pixel.api_key_env or pixel.api_key_file:
        try:
            read_key(pixel, environ)
        except Unreadable as error:
            yield error
    if pixel.pixel_id or pixel.pixel_id_env or pixel.pixel_id_file:
        try:
            read_pixel_id(pixel, environ)
        except Unreadable as error:
            yield error


def open_to_others(settings: Settings) -> list[str]:
    """The settings whose file holds a secret that every user of this machine may read."""
    named = {f"pixels.{pixel.name}.api_key_file": pixel.api_key_file for pixel in settings.pixels}
    registry = settings.schema_registry.properties if settings.schema_registry else {}
    named["kafka.sasl_password_file"] = settings.kafka.sasl_password_file
    for section, properties in (("kafka", settings.kafka.properties), ("schema_registry", registry)):
        named[f"{section}.properties.{_TLS_KEY}"] = str(properties.get(_TLS_KEY, "")) or None
    return [key for key, file in named.items() if file is not None and _others_may_read(file)]


def _others_may_read(file: str) -> bool:
    try:
        return bool(os.stat(file).st_mode & stat.S_IROTH)
    except OSError:
        return False


def _error_for(pixel: PixelSection, error: Unreadable) -> ConfigurationError:
    return ConfigurationError([f"pixels.{pixel.name}.{error.attribute}: {error.why}"])


def _read(what: str, variable: str | None, file: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """The attribute that names the variable or file, and the text in it."""
    if variable is not None:
        attribute, text = f"{what}_env", environ.get(variable, "").strip()
        if not text:
            raise Unreadable(attribute, "names a variable that the environment lacks or leaves empty; set it")
        return attribute, text
    attribute = f"{what}_file"
    if file is None:
        raise Unreadable(attribute, "is missing")
    text = _text_of(attribute, file).strip()
    if not text:
        raise Unreadable(attribute, "names a file that is empty")
    return attribute, text


def _text_of(attribute: str, file: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe would block, and can't be read a second time
            raise Unreadable(attribute, "names something that is not a regular file")
        with open(file, "rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Unreadable(attribute, f"names a file that can't be read: {why}") from None
    if len(content) > _MAX_BYTES:
        raise Unreadable(attribute, f"names a file of more than {_MAX_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable(attribute, "names a file that is not UTF-8 text") from None
