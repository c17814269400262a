"""URLs and IP addresses: what is one, what of it may be told, whose it can't be (contract, section 5)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import quote, unquote_plus, urlsplit

from stream_capi.events.tables import SUSPECT_NETWORKS

# Only what RFC 3986 allows, so that the document's ``format: uri`` holds. The first is for nearly all URLs, the second for
# what ``_escaped`` has taken apart and put together: ports and IPv6 addresses are checked there.
_CHARS = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]*+(?:%[0-9A-Fa-f]{2}[A-Za-z0-9\-._~!$&'()*+,;=:@/]*+)*+"
_CHARS_Q = _CHARS.replace("@/", "@/?")
_LONGEST_HOST = 253  # octets (RFC 1035)
_NAME = rf"[A-Za-z0-9][A-Za-z0-9\-._~]{{0,{_LONGEST_HOST - 1}}}+"
_SCHEME, _REST = "[Hh][Tt][Tt][Pp][Ss]?://", rf"(?:/{_CHARS})?(?:\?{_CHARS_Q})?(?:\#{_CHARS_Q})?"
_is_url = re.compile(rf"{_SCHEME}{_NAME}(?::[0-9]{{1,4}})?{_REST}").fullmatch
_is_any_url = re.compile(rf"{_SCHEME}(?:{_NAME}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?{_REST}").fullmatch
_QUOTE_SAFE = "-._~!$&'()*+,;=:@/?%"
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def url(text: str) -> str | None:
    """The URL as given where it is one; with what a browser would have escaped escaped otherwise."""
    text = text.strip()
    return text if _is_url(text) else _escaped(text)


def _escaped(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        if not host or len(host) > _LONGEST_HOST or parts.scheme not in ("http", "https"):
            return None
        if any(sign < " " for sign in text):  # the parser would leave them out and join what is on both sides
            return None
        if ":" in host and not _is_ipv6(host):
            return None
        name = f"[{host}]" if ":" in host else host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        return None
    place = f"{parts.scheme}://{name}" + (f":{port}" if port is not None else "")  # without a user and password
    for sign, part in (("", parts.path), ("?", parts.query), ("#", parts.fragment)):
        if part:
            place += sign + quote(_LONE_PERCENT.sub("%25", part), safe=_QUOTE_SAFE)
    return place if _is_any_url(place) else None


def origin(valid_url: str) -> str:
    """Scheme and host of a URL that ``url`` returned: all that the restricted flow may tell."""
    parts = urlsplit(valid_url)
    host = parts.hostname or ""
    return f"{parts.scheme.lower()}://" + (f"[{host}]" if ":" in host else host)


_PARAMETERS = {name: re.compile(rf"[?&]{name}=([^&#]*)").search for name in ("aleid", "alart")}


def parameter(valid_url: str, name: str) -> str:
    """``aleid`` or ``alart`` from a URL's query; empty where it has none."""
    found = _PARAMETERS[name](valid_url)
    if found is None:
        return ""
    before = valid_url[: found.start() + 1]
    if "#" in before or "?" not in before:  # it stands in the fragment, or in the path
        return ""
    given = found[1]
    return unquote_plus(given).strip() if "%" in given or "+" in given else given


_is_ipv4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}").fullmatch
_maybe_suspect_ipv4 = ("0.", "10.", "127.", "169.254.", "172.", "192.168.")


def address(text: str) -> str | None:
    """An IPv4 or IPv6 address, trimmed and otherwise as given."""
    text = text.strip()
    return text if _is_ipv4(text) or _is_ipv6(text) else None


@lru_cache(maxsize=1024)
def _is_ipv6(text: str) -> bool:
    if ":" not in text or "%" in text:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def suspect(valid_address: str) -> str | None:
    """Why an address can't be a user's on the internet (a server's own is a common fault), or None."""
    if ":" not in valid_address and not valid_address.startswith(_maybe_suspect_ipv4):
        return None
    return _suspect(valid_address)


@lru_cache(maxsize=1024)
def _suspect(valid_address: str) -> str | None:
    parsed = ipaddress.ip_address(valid_address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return next((reason for network, reason in SUSPECT_NETWORKS if parsed in network), None)
