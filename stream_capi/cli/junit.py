"""The results of ``stream-capi test`` as JUnit XML, as the CI servers read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from stream_capi.cli.text import plain

_XML = b"<?xml"


class Entry(NamedTuple):
    """A test: ``failure`` says what differs, ``error`` why it could not be run."""

    file: str
    name: str
    failure: str = ""
    error: str = ""


def junit(entries: Sequence[Entry]) -> bytes:
    """The document: a suite for each file. Control characters are escaped, since XML doesn't allow them."""
    root = ElementTree.Element("testsuites", _counts(entries, "stream-capi test"))
    for file, group in groupby(entries, lambda entry: entry.file):
        of_file = list(group)
        suite = ElementTree.SubElement(root, "testsuite", _counts(of_file, file))
        suite.extend(_cases(of_file))
    ElementTree.indent(root)
    return (
        _XML + b' version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode").encode() + b"\n"
    )


def is_report(file: Path) -> bool:
    """Whether a report may overwrite this file: it is XML, as a report is, or empty. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(len(_XML)) in (_XML, b"")


def _counts(entries: Sequence[Entry], name: str) -> dict[str, str]:
    return {
        "name": plain(name),
        "tests": str(len(entries)),
        "failures": str(sum(bool(entry.failure) for entry in entries)),
        "errors": str(sum(bool(entry.error) for entry in entries)),
        "skipped": "0",
        "time": "0",
    }


def _cases(entries: Sequence[Entry]) -> Iterator[ElementTree.Element]:
    for entry in entries:
        file = plain(entry.file)
        case = ElementTree.Element(
            "testcase", {"classname": file, "name": plain(entry.name), "file": file, "time": "0"}
        )
        for tag, text in (("failure", entry.failure), ("error", entry.error)):
            if text:
                shown = "\n".join(map(plain, text.splitlines()))
                ElementTree.SubElement(case, tag, {"message": shown.split("\n")[0], "type": tag}).text = shown
        yield case
