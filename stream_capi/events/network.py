"""URLs and IP addresses: what is one, what of it may be told, whose it can't be (contract, section 5)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from unicodedata import normalize
from urllib.parse import quote, unquote_plus

from stream_capi.events.tables import SUSPECT_NETWORKS

# Only what RFC 3986 allows, so that the document's ``format: uri`` holds. The first is for nearly all URLs, the second for
# what ``_escaped`` has taken apart and put together: ports and IPv6 addresses are checked there.
_CHARS = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]*+(?:%[0-9A-Fa-f]{2}[A-Za-z0-9\-._~!$&'()*+,;=:@/]*+)*+"
_CHARS_Q = _CHARS.replace("@/", "@/?")
_LONGEST_HOST = 253  # octets (RFC 1035)
# Characters of one beyond ASCII, as normalised: the codec is slow, and normalising makes eighteen characters of some.
_LONGEST_INTERNATIONAL = 100
_LONGEST_IPV6 = 45  # characters; beyond it nothing is asked, and so no cache below holds a longer text
_NAME = rf"[A-Za-z0-9][A-Za-z0-9\-._~]{{0,{_LONGEST_HOST - 1}}}+"
_SCHEME, _REST = "[Hh][Tt][Tt][Pp][Ss]?://", rf"(?:/{_CHARS})?(?:\?{_CHARS_Q})?(?:\#{_CHARS_Q})?"
URL = rf"{_SCHEME}{_NAME}(?::[0-9]{{1,4}})?{_REST}"
_is_url = re.compile(URL).fullmatch
_is_any_url = re.compile(rf"{_SCHEME}(?:{_NAME}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?{_REST}").fullmatch
_is_name = re.compile(_NAME).fullmatch
# Scheme, host (a user before it is left out), port, path, query, fragment. Not the library's: it normalises a host before
# anybody can ask how long it is, which takes seconds for a long one, and keeps the last URLs in a cache.
_parts = re.compile(
    r"([Hh][Tt][Tt][Pp][Ss]?)://(?>[^/?#]*@)?(\[[^\[\]/?#@]*\]|[^\[\]/?#@:]*)(?::([0-9]{0,5}))?(/[^?#]*)?(?:\?([^#]*))?(?:#(.*))?",
    re.DOTALL,
).fullmatch
_has_control = re.compile("[\0-\x1f]").search
_QUOTE_SAFE = "-._~!$&'()*+,;=:@/?%"
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def url(text: str) -> str | None:
    """The URL as given where it is one; with what a browser would have escaped escaped otherwise."""
    text = text.strip()
    return text if _is_url(text) else _escaped(text)


def _escaped(text: str) -> str | None:
    parts = _parts(text)
    if parts is None or _has_control(text):
        return None
    scheme, given, port, *rest = parts.groups(default="")
    host = _host(given.lower())
    if host is None or (port and int(port) > 65_535):
        return None
    place = f"{scheme.lower()}://{host}" + (f":{int(port)}" if port else "")
    try:
        for sign, part in zip(("", "?", "#"), rest, strict=True):
            if part:
                place += sign + quote(_LONE_PERCENT.sub("%25", part), safe=_QUOTE_SAFE)
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return place if _is_any_url(place) else None


def _host(given: str) -> str | None:
    """A host as a URL may have it, or None where it is none."""
    if given[:1] == "[":
        return given if len(given) <= _LONGEST_IPV6 + 2 and _is_ipv6(given[1:-1]) else None
    if len(given) > _LONGEST_HOST:
        return None
    if not given.isascii() and len(normalize("NFKC", given[: _LONGEST_INTERNATIONAL + 1])) > _LONGEST_INTERNATIONAL:
        return None
    try:
        name = given if given.isascii() else given.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return name if _is_name(name) else None


def origin(valid_url: str) -> str:
    """Scheme and host of a URL that ``url`` returned: all that the restricted flow may tell."""
    parts = _parts(valid_url)
    return f"{parts[1].lower()}://{parts[2].lower()}" if parts else ""


_PARAMETERS = {name: re.compile(rf"[?&]{name}=([^&#]*)").search for name in ("aleid", "alart")}


def parameter(valid_url: str, name: str) -> str:
    """``aleid`` or ``alart`` from a URL's query; empty where it has none."""
    before, first, rest = valid_url.partition(f"?{name}=")
    if first and rest.isalnum() and "&" not in before and "#" not in before:
        return rest  # it is all of the query, as an ad's link has it
    found = _PARAMETERS[name](valid_url)
    if found is None:
        return ""
    before = valid_url[: found.start() + 1]
    if "#" in before or "?" not in before:  # it stands in the fragment, or in the path
        return ""
    given = found[1]
    return unquote_plus(given).strip() if "%" in given or "+" in given else given


_is_ipv4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}").fullmatch
_MAYBE_SUSPECT_IPV4 = ("0.", "10.", "127.", "169.254.", "172.", "192.168.")
_OCTET = r"(?:1[0-9]?+[0-9]?+|2(?:[0-4][0-9]?+|5[0-5]?+|[6-9])?+|[3-9][0-9]?+|0)"
PUBLIC_IPV4 = rf"(?!{'|'.join(map(re.escape, _MAYBE_SUSPECT_IPV4))}){_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}"


def address(text: str) -> str | None:
    """An IPv4 or IPv6 address, trimmed and otherwise as given."""
    text = text.strip()
    return text if _is_ipv4(text) or (len(text) <= _LONGEST_IPV6 and _is_ipv6(text)) else None


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
    if ":" not in valid_address and not valid_address.startswith(_MAYBE_SUSPECT_IPV4):
        return None
    return _suspect(valid_address)


@lru_cache(maxsize=1024)
def _suspect(valid_address: str) -> str | None:
    parsed = ipaddress.ip_address(valid_address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return next((reason for network, reason in SUSPECT_NETWORKS if parsed in network), None)
