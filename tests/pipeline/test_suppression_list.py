"""The suppression list: the forms of its lines, when it is read again, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from stream_capi.errors import ConfigurationError
from stream_capi.pipeline.suppression_list import SuppressionList

CANARY = "canary.person@example.com"
HASH = sha256(CANARY.encode()).hexdigest()
OTHER = sha256(b"16505550199").hexdigest()


def written(folder: Path, content: bytes | str) -> Path:
    file = folder / "forgotten"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(folder: Path, content: bytes | str) -> SuppressionList:
    return SuppressionList(str(written(folder, content)))


def hash_is_in(people: SuppressionList, text: str) -> bool:
    return people.among([people.key_of_hash(text)]) == [0]


def id_is_in(people: SuppressionList, text: str) -> bool:
    return people.among([people.key_of_user_id(text)]) == [0]


# Lines


@pytest.mark.parametrize(
    "content",
    [
        HASH,
        f"{HASH}\n",
        f"{HASH.upper()}\r\n",
        f"  {HASH}\t\n\n",
        f"\n\n{OTHER}\n{HASH}",
        f"u-1\n{HASH}\nu-2\n",
        b"\xef\xbb\xbf" + HASH.encode(),
        f"{OTHER}\r{HASH}\r",
        f'"{HASH}"\n"{OTHER}"\n',
        f"email;phone\n{OTHER};{HASH}\n",
        f"{HASH},{OTHER}",
        f"sha256:{HASH}\n",
        f"{HASH}  -\n",
        f"u-1\n\ufeff{HASH}\n",
    ],
)
def test_a_hash_is_found_however_its_line_is_written(content: bytes | str, tmp_path: Path) -> None:
    people = read(tmp_path, content)
    assert hash_is_in(people, HASH)
    assert id_is_in(people, HASH)
    assert not hash_is_in(people, sha256(b"someone else").hexdigest())


@pytest.mark.parametrize("user_id", ["u-1", "12345678", "ü 7", CANARY, HASH[:63], "x" * 8_192])
def test_a_user_id_is_found_as_it_is(user_id: str, tmp_path: Path) -> None:
    for content in (f"{user_id}\n", f"{HASH}\n \t{user_id} \r\n"):
        people = read(tmp_path, content)
        assert id_is_in(people, user_id)
        assert not id_is_in(people, user_id[:-1])
        assert not id_is_in(people, user_id + "x")


def test_quotes_around_a_user_id_are_the_files(tmp_path: Path) -> None:
    people = read(tmp_path, '"u-1"\n"u-2"\r\n')
    assert id_is_in(people, "u-1")
    assert id_is_in(people, "u-2")


def test_a_user_id_with_a_hash_in_it_is_found_as_well(tmp_path: Path) -> None:
    people = read(tmp_path, f"auth0|{HASH}\n")
    assert id_is_in(people, f"auth0|{HASH}")
    assert hash_is_in(people, HASH)
    assert (people.hashes, people.user_ids) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        CANARY,
        f" {CANARY.upper()} ",
        f"mailto:{CANARY}",
        f'"{CANARY}",US',
        f"4711;{CANARY};2026-11-30",
        f"4711\t{CANARY}",
        "+1 650 555 0199",
        '"+1 (650) 555-0199"',
        "4711|+16505550199",
    ],
)
def test_a_plain_email_or_phone_is_found_as_well(line: str, tmp_path: Path) -> None:
    people = read(tmp_path, f"u-1\n{line}\n")
    assert hash_is_in(people, HASH if "@" in line else OTHER)
    assert id_is_in(people, line.strip() if "," in line else line.strip(' "'))
    assert (people.hashes, people.user_ids) == (1, 2)


@pytest.mark.parametrize("line", ["a@b@c.example", f"Jane <{CANARY}>", "+1", "a+b", "@", "@handle"])
def test_what_only_looks_like_one_is_a_user_id_alone(line: str, tmp_path: Path) -> None:
    people = read(tmp_path, line)
    assert id_is_in(people, line)
    assert (people.hashes, people.user_ids) == (0, 1)


def test_more_hex_than_a_hash_has_is_none(tmp_path: Path) -> None:
    assert not hash_is_in(read(tmp_path, f"{HASH}0"), HASH)


def test_a_user_id_of_digits_is_nobodys_phone(tmp_path: Path) -> None:
    people = read(tmp_path, "16505550199\n")
    assert not hash_is_in(people, OTHER)


def test_the_lines_are_counted_by_kind(tmp_path: Path) -> None:
    people = read(tmp_path, f"{HASH}\n\nu-1\n{OTHER}\nu-2\n{HASH}")
    assert (people.hashes, people.user_ids, len(people)) == (3, 2, 5)
    people = read(tmp_path, f"{HASH}\n{OTHER}")
    assert (people.hashes, people.user_ids) == (2, 0)


def test_an_empty_list_has_nobody(tmp_path: Path) -> None:
    people = read(tmp_path, "")
    assert len(people) == 0
    assert people.among([]) == []
    assert people.among([people.key_of_user_id("u")]) == []


def test_each_of_many_is_found_and_nobody_else(tmp_path: Path) -> None:
    listed = [sha256(str(n).encode()).hexdigest() for n in range(60_000)]  # more than one read of the file
    edges = ["0" * 64, "f" * 64, "0" * 62 + "1f"]
    people = read(tmp_path, "\n".join(listed + edges))
    assert people.among([people.key_of_hash(one) for one in listed + edges]) == list(range(len(listed) + len(edges)))
    others = [sha256(str(-n).encode()).hexdigest() for n in range(1, 60_000)]
    assert people.among([people.key_of_hash(one) for one in others]) == []
    mixed = [*others[:3], *listed[:1], *others[3:5], *edges[:1]]
    assert people.among([people.key_of_hash(one) for one in mixed]) == [3, 6]


def test_what_begins_like_one_of_the_list_is_another(tmp_path: Path) -> None:
    people = read(tmp_path, HASH)
    assert not hash_is_in(people, HASH[:12] + "0" * 52)
    assert not hash_is_in(people, HASH[:12] + "f" * 52)


# Faults


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"{HASH}\nü\n".encode("latin-1"), "not UTF-8"),
        (f"{HASH}\n".encode("utf-16"), "not UTF-8|not text"),
        (f"{HASH}\n".encode("utf-16-be"), "not text"),
        (f"{HASH}\n{CANARY * 3_000}\n".encode(), "line of"),
        (CANARY.encode() * 100_000, "line of"),
    ],
)
def test_a_file_of_another_kind_is_refused_at_the_start(content: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=why) as raised:
        read(tmp_path, content)
    assert str(raised.value).startswith("suppress.file: ")
    assert "canary" not in str(raised.value)
    assert HASH not in str(raised.value)


def test_what_is_no_file_is_refused_at_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", "", "pipe"):
        with pytest.raises(ConfigurationError, match=r"suppress\.file: names "):
            SuppressionList(str(tmp_path / name))


def test_it_shows_nobody(tmp_path: Path) -> None:
    people = read(tmp_path, f"{HASH}\n{CANARY}")
    assert repr(people) == "SuppressionList(3 people)"


# Changes


def test_a_list_that_changes_is_read_when_it_has_come_to_rest(tmp_path: Path) -> None:
    people = read(tmp_path, f"{HASH}\n")
    assert not people.changed()
    written(tmp_path, f"{HASH}\n{OTHER}\n")
    assert not people.changed()
    written(tmp_path, f"{HASH}\n{OTHER}\nu-1\n")  # still being written
    assert not people.changed()
    assert not hash_is_in(people, OTHER)
    assert people.changed()
    assert hash_is_in(people, OTHER)
    assert id_is_in(people, "u-1")
    assert (people.fault, people.hashes, people.user_ids) == ("", 2, 1)
    assert not people.changed()


@pytest.mark.slow
def test_nobody_is_counted_before_they_are_forgotten(tmp_path: Path) -> None:
    """The file is read on another thread, while records are mapped."""
    people = read(tmp_path, "canary-first\n")
    written(tmp_path, "".join(f"canary-{number}\n" for number in range(300_000)))
    people.changed()  # to be read when it has stayed the same
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(people.changed)
        while len(people) == 1:
            assert not (reading.done() and not reading.result()), "the list was not read"
        assert id_is_in(people, "canary-299999")
        assert reading.result()


def test_a_list_that_is_put_in_its_place_is_read(tmp_path: Path) -> None:
    people = read(tmp_path, f"{HASH}\n")
    (tmp_path / "new").write_text(f"{OTHER}\n")
    os.replace(tmp_path / "new", tmp_path / "forgotten")
    assert [people.changed(), people.changed()] == [False, True]
    assert hash_is_in(people, OTHER)
    assert not hash_is_in(people, HASH)


def test_a_list_that_is_gone_stays_and_the_fault_is_told_until_it_is_back(tmp_path: Path) -> None:
    people = read(tmp_path, f"{HASH}\n")
    os.rename(tmp_path / "forgotten", tmp_path / "away")
    assert not people.changed()
    assert people.fault.startswith("names a file that can't be read: ")
    assert hash_is_in(people, HASH)
    os.rename(tmp_path / "away", tmp_path / "forgotten")
    people.changed()
    people.changed()
    assert people.fault == ""
    assert hash_is_in(people, HASH)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe", CANARY.encode() * 10_000])
def test_a_list_of_no_use_leaves_the_last_one(content: bytes, tmp_path: Path) -> None:
    people = read(tmp_path, f"{HASH}\nu-1\n")
    written(tmp_path, content)
    for _ in range(3):
        assert not people.changed()
    assert people.fault
    assert "canary" not in people.fault
    assert (people.hashes, people.user_ids) == (1, 1)
    assert hash_is_in(people, HASH)
    written(tmp_path, f"{OTHER}\n")
    assert [people.changed(), people.changed()] == [False, True]
    assert people.fault == ""
    assert hash_is_in(people, OTHER)


def test_a_list_that_was_empty_may_stay_so(tmp_path: Path) -> None:
    people = read(tmp_path, "")
    written(tmp_path, "\n")
    assert [people.changed(), people.changed()] == [False, True]
    assert people.fault == ""


# What it costs

_MEASURE = """
import os, sys
import numpy
from stream_capi.pipeline.suppression_list import SuppressionList
from tests.peak_memory import peak_memory

before = peak_memory()
people = SuppressionList(sys.argv[1])
os.utime(sys.argv[1])
people.changed()
assert people.changed()
assert len(people) == 1_000_000
print(peak_memory() - before)
"""


@pytest.mark.repeat(of="test_each_of_many_is_found_and_nobody_else")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hashes", "user ids"])
def test_a_million_lines_cost_less_than_100_mb_also_while_they_are_read_again(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "forgotten"
    with file.open("w") as out:
        for n in range(1_000_000):
            out.write(f"{sha256(str(n).encode()).hexdigest() if kind == 'hashes' else f'user-{n:035}'}\n")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    kilobytes = int(done.stdout) // 1024
    assert 15_000 < kilobytes < 100_000, kilobytes
