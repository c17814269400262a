"""URLs and IP addresses: validation, the part of a URL that may be sent, addresses that no user has (contract, section 5)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from unicodedata import normalize
from urllib.parse import quote, unquote_plus

import idna

from stream_capi.events.tables import SUSPECT_NETWORKS

# Only what RFC 3986 allows, so that the API document's ``format: uri`` holds. ``_is_url`` matches nearly all URLs.
# ``_is_any_url`` is for the results of ``_escaped``, which validates ports and IPv6 addresses itself.
_CHARS = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]*+(?:%[0-9A-Fa-f]{2}[A-Za-z0-9\-._~!$&'()*+,;=:@/]*+)*+"
_CHARS_Q = _CHARS.replace("@/", "@/?")
_LONGEST_HOST = 253  # octets (RFC 1035)
# Characters of a host that is not ASCII, after NFKC: the codec is slow, and NFKC turns one character into up to eighteen.
_LONGEST_INTERNATIONAL = 100
_LONGEST_LABEL = 63
_MOST_PORT = 65_535
_SCHEMES = ("http", "https")  # as a host: a scheme that was written twice
_SHARP_S_AND_FINAL_SIGMA = frozenset("ßς")  # IDNA 2003 replaces them with other letters
_WITHOUT_JOINERS = {0x200C: None, 0x200D: None}  # in an emoji
_LONGEST_IPV6 = 45  # characters; a longer text is refused at once, so no cache below holds one
_NAME = rf"[A-Za-z0-9][A-Za-z0-9\-._~]{{0,{_LONGEST_HOST - 1}}}+"
_SCHEME, _REST = "[Hh][Tt][Tt][Pp][Ss]?://", rf"(?:/{_CHARS})?(?:\?{_CHARS_Q})?(?:\#{_CHARS_Q})?"
URL = rf"{_SCHEME}{_NAME}(?::[0-9]{{1,4}})?{_REST}"
_is_url = re.compile(URL).fullmatch
_is_any_url = re.compile(rf"{_SCHEME}(?:{_NAME}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?{_REST}").fullmatch
_is_name = re.compile(_NAME).fullmatch
# Scheme, host (without user and password), port, path, query, fragment. Not by urllib.parse: it normalises a host before its
# length can be checked, which takes seconds for a long one, and it caches the last URLs.
_parts = re.compile(
    r"([Hh][Tt][Tt][Pp][Ss]?)://(?>[^/?#]*@)?(\[[^\[\]/?#@]*\]|[^\[\]/?#@:]*)(?::([0-9]{0,5}))?(/[^?#]*)?(?:\?([^#]*))?(?:#(.*))?",
    re.DOTALL,
).fullmatch
_has_control = re.compile("[\0-\x1f]").search
_QUOTE_SAFE = "-._~!$&'()*+,;=:@/?%"
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def url(text: str) -> str | None:
    """The URL as given, if it is valid; else with the characters escaped that a browser escapes; None if that is invalid."""
    text = text.strip()
    return text if _is_url(text) else _escaped(text)


def _escaped(text: str) -> str | None:
    parts = _parts(text)
    if parts is None or _has_control(text):
        return None
    scheme, given, port, *rest = parts.groups(default="")
    host = _host(given)
    if host is None or host in _SCHEMES or (port and int(port) > _MOST_PORT):
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
    """The host in the form that a URL may have, or None if it is invalid."""
    if given[:1] == "[":
        return given.lower() if len(given) <= _LONGEST_IPV6 + 2 and _is_ipv6(given[1:-1]) else None
    if len(given) > _LONGEST_HOST:
        return None
    if given.isascii():
        name = given.lower()
    elif len(normalize("NFKC", given[: _LONGEST_INTERNATIONAL + 1])) > _LONGEST_INTERNATIONAL:
        return None
    else:
        name = _international(given)
    return name if _is_name(name) else None


@lru_cache(maxsize=1024)
def _international(given: str) -> str:
    """A host in its IDNA 2008 form (UTS 46, non-transitional), in which ß and ς stay letters; empty if it has none.

    Hosts that IDNA 2008 refuses and browsers accept (emoji, underscores) are encoded by the codec of IDNA 2003.
    """
    try:
        try:
            mapped = idna.uts46_remap(given, std3_rules=False)
        except idna.IDNAError:  # a character that is not in its tables
            return given.lower().encode("idna").decode("ascii")
        labels = mapped.split(".")
        return ".".join(map(_label, labels)) if all(labels[:-1]) else ""
    except UnicodeError:
        return ""


def _label(label: str) -> str:
    """The ASCII form of a part of a host between dots, after the mapping of UTS 46."""
    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError:
        pass
    old = label.encode("idna").decode("ascii")
    if not _SHARP_S_AND_FINAL_SIGMA.intersection(label):
        return old
    made = "xn--" + label.translate(_WITHOUT_JOINERS).encode("punycode").decode("ascii")
    return made if len(made) <= _LONGEST_LABEL else ""


def origin(valid_url: str) -> str:
    """Scheme and host of a URL that ``url`` returned: all that the restricted profile may send."""
    parts = _parts(valid_url)
    return f"{parts[1].lower()}://{parts[2].lower()}" if parts else ""


_PARAMETERS = {name: re.compile(rf"[?&]{name}=([^&#]*)").search for name in ("aleid", "alart")}


def parameter(valid_url: str, name: str) -> str:
    """``aleid`` or ``alart`` from a URL's query; empty if it has none."""
    before, first, rest = valid_url.partition(f"?{name}=")
    if first and rest.isalnum() and "&" not in before and "#" not in before:
        return rest  # the query has only this parameter, as in an ad's link
    found = _PARAMETERS[name](valid_url)
    if found is None:
        return ""
    before = valid_url[: found.start() + 1]
    if "#" in before or "?" not in before:  # it is in the fragment, or in the path
        return ""
    given = found[1]
    return unquote_plus(given).strip() if "%" in given or "+" in given else given


_is_ipv4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}").fullmatch
_MAYBE_SUSPECT_IPV4 = ("0.", "10.", "127.", "169.254.", "172.", "192.168.")
_OCTET = r"(?:1[0-9]?+[0-9]?+|2(?:[0-4][0-9]?+|5[0-5]?+|[6-9])?+|[3-9][0-9]?+|0)"
PUBLIC_IPV4 = rf"(?!{'|'.join(map(re.escape, _MAYBE_SUSPECT_IPV4))}){_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}"


# What proxies write around an address: brackets, with or without a zone in them; a port; a zone.
_adorned = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})(?:%[^\s\[\]]+)?\]|([0-9.]{7,15})(?=:))(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]{2,45})%[^\s\[\]]+"
).fullmatch

_is_public_ipv4 = re.compile(PUBLIC_IPV4).fullmatch
# Addresses between a provider and its customers (RFC 6598), of protocols and measurements, multicast and reserved ones.
_is_reserved = re.compile(
    r"100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.|192\.0\.0\.|198\.1[89]\.|2(?:2[4-9]|[345][0-9])\."
).match
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(text: str) -> str | None:
    """An IPv4 or IPv6 address as given, trimmed, without port, brackets and zone.

    From a list, as proxies write it in ``X-Forwarded-For``: the first public address; the first one if none is public.
    """
    text = text.strip()
    first, is_list, _ = text.partition(",")
    if not is_list:
        return _bare(text)
    if _is_public_ipv4(first) and not _is_reserved(first):  # the fast path: most lists begin like this
        return first
    found = [one for part in text.split(",") if (one := _bare(part.strip())) is not None]
    return next(filter(_is_public, found), found[0] if found else None)


def address_note(text: str, valid_address: str) -> str:
    """What ``address`` took from a text; empty if it took all of it."""
    if "," in text:
        return "the first public one" if _is_public(valid_address) else "the first one: none of the list is public"
    return "" if text.strip() == valid_address else "without port, brackets and zone"


def _is_public(valid_address: str) -> bool:
    """Whether an address in a list may be the user's, and is not that of a proxy in between."""
    if suspect(valid_address) is not None:
        return False
    parsed = _without_transition(ipaddress.ip_address(valid_address))
    if isinstance(parsed, ipaddress.IPv6Address):
        return not (parsed.is_multicast or parsed.is_site_local)
    return not _is_reserved(str(parsed))


def _without_transition(parsed: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4 or NAT64); any other address as it is."""
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed
    if parsed in _NAT64:
        return ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return parsed.ipv4_mapped or parsed.sixtofour or parsed


def _bare(text: str) -> str | None:
    """One address without port, brackets and zone; None if it is invalid."""
    if _is_ipv4(text) or (len(text) <= _LONGEST_IPV6 and _is_ipv6(text)):
        return text
    parts = _adorned(text)
    if parts is None:
        return None
    bracketed, ipv4, port, zoned = parts.groups(default="")
    bare = bracketed or ipv4 or zoned
    fits = _is_ipv6(bare) or (not zoned and _is_ipv4(bare))
    return bare if fits and int(port or 0) <= _MOST_PORT else None


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
    """Why an address can't be that of a user on the internet, or None. Often it is a server's own, by mistake."""
    if ":" not in valid_address and not valid_address.startswith(_MAYBE_SUSPECT_IPV4):
        return None
    return _suspect(valid_address)


@lru_cache(maxsize=1024)
def _suspect(valid_address: str) -> str | None:
    parsed = _without_transition(ipaddress.ip_address(valid_address))
    return next((reason for network, reason in SUSPECT_NETWORKS if parsed in network), None)
