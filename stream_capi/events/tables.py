"""Lists that values are looked up in: ISO 4217, ISO 3166-1, spellings of operating systems, kinds of IP addresses."""

from __future__ import annotations

import ipaddress

import pycountry

CURRENCIES: frozenset[str] = frozenset(currency.alpha_3 for currency in pycountry.currencies)
COUNTRIES: frozenset[str] = frozenset(country.alpha_2 for country in pycountry.countries)

_SPELLINGS = {
    "ios": ("ios", "iphone os", "iphoneos", "iphone", "ipad", "ipados", "ipod", "ipod touch"),
    "android": ("android", "android os", "fire os", "fireos"),
    "desktop_os": (
        "desktop_os", "desktop os", "desktop", "windows", "windows nt", "win32", "win64", "win", "mac", "macos", "mac os",
        "mac os x", "macosx", "os x", "osx", "macintosh", "macintel", "darwin", "linux", "gnu/linux", "linux x86_64",
        "ubuntu", "debian", "fedora", "chrome os", "chromeos", "chromium os", "cros", "freebsd", "openbsd",
    ),
}  # fmt: skip
OPERATING_SYSTEMS: dict[str, str] = {spelling: name for name, all_of in _SPELLINGS.items() for spelling in all_of}

# Addresses that no user comes from, and why. ``ipaddress``'s own ``is_private`` has other lists from one Python to the next.
SUSPECT_NETWORKS = tuple(
    (ipaddress.ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("169.254.0.0/16", "link_local"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link_local"),
    )
)
