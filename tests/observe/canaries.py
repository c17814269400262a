"""Canary values that no output may contain, and texts in which they may occur."""

from __future__ import annotations

EMAIL = "canary.person+tag@example.com"
PHONE = "+1 (650) 555-0199"
DIGITS = "16505550199"
HASH = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
KEY = "axonKEYcanary0123456789abcdefghij"
TOKEN = "canary-token"
ADDRESS = "203.0.113.77"
ADDRESS6 = "2001:db8:85a3::8a2e:370:7334"
QUERY = "canary-pixel-id"

ALL = (EMAIL, PHONE, DIGITS, HASH, KEY, TOKEN, ADDRESS, ADDRESS6, QUERY)

FORMS = {
    "email": f"unknown contact {EMAIL} for lead",
    "email in angle brackets": f"from <{EMAIL}>",
    "email, percent-encoded": "at canary.person%2Btag%40example.com",
    "email in a dictionary's repr": f"KeyError {{'email': '{EMAIL}'}}",
    "phone": f"call {PHONE} now",
    "phone's digits": f"number {DIGITS}",
    "phone with dots": "number 650.555.0199",
    "hash": f"hashed {HASH}",
    "hash in upper case": f"hashed={HASH.upper()}",
    "key": f"key {KEY}",
    "bearer token": f"sent Bearer {TOKEN}",
    "authorization header": f"Authorization: {TOKEN}",
    "authorization header's repr": f"{{'Authorization': 'Bearer {TOKEN}'}}",
    "header as a pair of bytes": f"(b'authorization', b'{TOKEN}')",
    "password": f"sasl.password={TOKEN}",
    "cookie": f"Set-Cookie: {TOKEN}=1",
    "user of a URL": f"http://user:{TOKEN}@registry.example.com/subjects",
    "query of a URL": f"POST https://b.example.com/v1/event?pixel_id={QUERY} failed",
    "fragment of a URL": f"https://b.example.com/#{QUERY}",
    "query without a host": f"POST /v1/event?pixel_id={QUERY}",
    "IPv4 address": f"client {ADDRESS} unknown",
    "IPv6 address": f"client {ADDRESS6} unknown",
}
PARTS = ("canary.person", "example.com>", "555-0199", "5550199", "555.0199", HASH, HASH.upper(), *ALL)


def leaked(text: str) -> list[str]:
    """The canaries in the text, and parts of them that identify a person."""
    return [part for part in PARTS if part in text]
