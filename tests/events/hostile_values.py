"""Values that a field's rule may get wrong, above all when it handles a whole column at once."""

from __future__ import annotations

import math
from typing import Any

from tests.events.sources_and_records import NOW

NASTY: dict[str, tuple[Any, ...]] = {
    "event_source_url": (
        "https://a.example/?aleid=1%20&alart=2", "http://h/x y", " http://h ", "https://é.example/", "HTTP://H:80/#?aleid=1",
        "http://a\nhttp://b", 'http://h/?aleid="%22', "x" * 9000, "http://h:99999/", "http://h/?aleid=%", "https://h/q?alart=a+b",
        "http://h/&aleid=1?aleid=2", "http://h/?aleid=1?aleid=2", "http://h?aleid=1", "http://h/#x?aleid=1", "http://h/?aleid=null&alart=Undefined", "http://h/?alart=none+",
    ),
    "client_ip_address": (
        "1.2.3.4", "10.0.0.1", "172.16.1.1", "172.32.0.1", " 8.8.8.8", "256.1.1.1", "01.2.3.4", "1.2.3.4\n", "2001:db8::1", "::1",
        "::ffff:10.0.0.1", "0.1.0.0", "127.0.0.1", "169.254.0.1", "192.168.0.1", "1.2.3", "25.25.25.25", "249.250.255.99",
        "1.2.3.4\n5.6.7.8", "1.2.3.4:80", "10.0.0.1, 1.2.3.4", "[2001:db8::1]:443", "fe80::1%eth0", "unknown,", "1.2.3.4,\n5.6.7.8", "::ffff:100.64.0.1, 1.2.3.4",
    ),
    "client_user_agent": (
        "agent", ' "q" \\ é\u2028', "\x00", "\x1f a", "   ", "a\nb", "x" * 8192, "x" * 8193, '","', 'x",', "\x7f", "😀", "a ", " a",
    ),
    "email": (
        "a@b", " A@B.example\t", "ΑΣ@ΣΑΣ", "ab" * 32, "AB" * 32, "a@b\nc@d", "nobody", "é@x", "\x1c@", '"@"', "x" * 1024 + "@",
        "İ@x", "a @b", "@", " a@b", "a@b ",
        "none@", "@b", "a@b@c", "mailto:A@b?x", "a:b@c", "<a@b>", "a@b,c@d", "a@b;", "\ufeffa@b", "NULL", "mailto:none",
        "(a@b)", "a@[b]", "'a@b", "o'a@b", "a@b'", "a@b.", "a@.b", "a@b..c", "a..c@b", "a@b/", "a?@b", "a*@b", "a@b\x7f", "a\x7f@b", "a\x00@b",
        "a\ufffd@b", "a@b\ufe0f", "a@\u3164", "a@b_c-d.e", "a@b`", "a`@b", "a\\@b", "a@b{", "a@é..b", "a@é\x85", "a@\x85",
        "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    "phone": (
        "+1 (650) 555-1212", "0049 30 123456", "000123456789", "0016505551212", "ab1" * 21 + "c", "12345", "1234567", "123456789012345",
        "1234567890123456", "١٢٣٤٥٦٧", "１２３４５６７", "1234567\n1234567", "00", "c" * 64, "CD" * 32, "aBcdefab" * 7 + "12345678", "1" * 64, "1" * 63, "1" * 257,
        "16505551212.0", "+16505551212.00", "650.055.0000", "16505551212,0", "6505551212 x12", "6505551212;ext=5", "6505551212#1", "+31 (0)30 1234 123",
        "( 0 ) 1234567", "5551212/5551213", "030/1234567", "tel:6505551212", "650555121X", "n/a 5551212345", "none", "N/A", "+１６５０５５５１２１２",
        "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "1.65E10", "(00) 1234567", "6505551212 extension 1 )",
        "16,505,551,212.00", "16.505.551.212,0", "16 505 551 212.0", "16'505'551,00", "1,65,055.0", "1,6505551.0", "16,505.551,00", "49.301.234.000", "650***1212", "650\u2022\u20221212",
        "650##1212", "#6505551212#", "6505551212#1#2", "650 555 12__", "1_650_555_1212", "_6505551212", "6505551212_", "65055512?",
    ),
    "country_code": ("US", "us", " DE ", "ß", "XX", "US\u00a0", "GB", "ſs"),
    "zip": ("94025", "94025-1234", " 94025 ", "SW1A 1AA", "--", "1", "９４０２５", '"', "é", "1234 5", "12345\n", "null", " N/A", "unKnown", "940251234", "2138", "501", "21381234", "2138-1234", "99"),
    "os": ("iOS", "Windows Phone", "linux armv7l", "Ubuntu Touch", "linux TV 1", "windows ce 5.0", "Windows 10", "BeOS", "Mac OS X 10_15", " ", "android", "x" * 65, '"macOS"', '" iOS"', '"'),
    "esi": ("web", "app", "WEB", " app ", "server"),
    "currency": ("USD", "usd ", "EUR", "XXX1", "USD\u00a0", "ß"),
    "value": (0.0, -0.0, 1.5, 1e22, 1e-7, -1.0, math.nan, math.inf, 5e-324),
    "event_time": (NOW, NOW - 1, NOW - 60_001, NOW + 600_001, 1, -1, 10**14, 2**62, 10**11),
}  # fmt: skip
IDS = ("id", " id ", '"', 'x",', '\\",', "\\", "é", "\n", "42", "042", "x" * 8193, "", "١", "a b",
    "null", " None", "N/A ", "uNknown", "undefined", "0", "00000000-0000-0000-0000-000000000000", "nullify",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
)  # fmt: skip
