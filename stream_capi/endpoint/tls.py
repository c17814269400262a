"""The certificates that the endpoint's client trusts, re-read when ``endpoint.ca_file`` changes; why a handshake failed."""

from __future__ import annotations

import ssl

from stream_capi.config.files import content
from stream_capi.errors import ConfigurationError

_MOST_BYTES = 16 * 1024 * 1024  # the system's whole bundle has a quarter of a megabyte


class Trust:
    """The context of new connections. ``fault`` says why the file could not be read the last time, else it is empty."""

    def __init__(self, ca_file: str) -> None:
        """Read the file. Raises ConfigurationError where it holds no certificate."""
        self.fault = ""
        self._file = ca_file
        self._text = b""
        try:
            if ca_file:
                self._text = _content(ca_file)
            self.context = _context(self._text)
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"endpoint.ca_file: {ca_file}: {_why(error)}"]) from None

    def changed(self) -> bool:
        """Read the file again; whether its certificates are trusted from now on. A file of no use keeps the old ones."""
        if not self._file:
            return False
        try:
            text = _content(self._file)
            self.fault = ""
            if text == self._text:
                return False
            self.context = _context(text)
        except (OSError, ValueError) as error:
            self.fault = _why(error)
            return False
        self._text = text
        return True


def reason_of(cause: BaseException | None) -> str:
    """What a handshake failed by, in OpenSSL's words: the certificate's fault where there is one."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    return (reason or "the handshake was broken off").replace("_", " ").lower()


def _content(file: str) -> bytes:
    text = content(file, _MOST_BYTES)
    if not text.strip():
        raise ValueError("empty")
    return text


def _context(text: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if text:
        context.load_verify_locations(cadata=text.decode("ascii", "replace"))
    return context


def _why(error: Exception) -> str:
    is_of_the_system = isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError)
    return (error.strerror if is_of_the_system and isinstance(error, OSError) else None) or "holds no PEM certificate"
