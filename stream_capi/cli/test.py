"""``stream-capi test``: the user's own cases against the user's own configuration."""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_capi import config
from stream_capi.cli.junit import Entry, is_report, junit
from stream_capi.cli.options import Config, Json
from stream_capi.cli.text import plain, print_json
from stream_capi.errors import ConfigurationError, ExitCode
from stream_capi.events import network
from stream_capi.events.value_masking import masked, sent_shown
from stream_capi.model import EventName
from stream_capi.operations.cases import FOLDER, CaseFile, read_cases
from stream_capi.operations.expectations import write_outcomes
from stream_capi.operations.mapping_tests import CaseResult, CaseVerdict, Difference, run_cases

_CHECKED = ("outcome", "pixel", "field")  # differences whose words were validated when the case files were read
_WORDS_SENT = {*EventName, "web", "app", "ios", "android", "desktop_os"}
_CODE = re.compile("[A-Za-z]{2,3}")  # of a country or a currency


def command(
    config_file: Config,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...", help="Files of cases, or folders of them; by default cases/ beside the configuration."
        ),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="The .avsc of cases that name none, whatever their framing. No registry is asked then."),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write what came out into the files of cases.")] = False,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML, masked.")
    ] = None,
    show_personal_data: Annotated[bool, typer.Option("--show-personal-data", help="Show values unmasked.")] = False,
    as_json: Json = False,
) -> None:
    """Test the configuration: map the records of your cases, and compare with the events you expect. Needs no broker."""
    settings = config.load(config_file, keys=False)
    places = paths or [config_file.parent / FOLDER]
    files = read_cases(places)
    if not files:
        raise ConfigurationError([f"{place}: has no files of cases, .toml or .json" for place in places])
    results = asyncio.run(run_cases(settings, files, schema))
    if update:
        results = write_outcomes(files, results)
    if as_json:
        print_json(_as_json(files, results, show_personal_data), indent=2)
    else:
        _print(results, show_personal_data)
    faults = [fault for file in files for fault in file.faults]
    faults += [f"{result.case.place}: {result.fault}" for result in results if result.verdict is CaseVerdict.BROKEN]
    if junit_file is not None:
        faults += _written(junit_file, files, results)
    if faults:
        raise ConfigurationError([plain(fault) for fault in faults])
    if any(result.verdict is CaseVerdict.FAIL for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _print(results: Sequence[CaseResult], personal: bool) -> None:
    for result in results:
        if result.verdict is not CaseVerdict.BROKEN:  # those are reported on standard error
            print(f"{result.verdict.value:7} {plain(_named(result))}")
        if result.verdict is CaseVerdict.FAIL:
            for line in _lines(result, personal):
                print(f"        {plain(line)}")
    counts = Counter(result.verdict for result in results)
    said = ", ".join(f"{counts[one]} {word}" for one, word in _WORDS.items() if counts[one] or one is CaseVerdict.PASS)
    print(f"{len(results)} case{'s' * (len(results) != 1)}: {said}", flush=True)


_WORDS = {
    CaseVerdict.PASS: "passed",
    CaseVerdict.FAIL: "failed",
    CaseVerdict.UPDATED: "updated",
    CaseVerdict.BROKEN: "broken",
}


def _named(result: CaseResult) -> str:
    return f"{_shown_path(result.case.file)}: {result.case.name}"


def _shown_path(file: Path) -> str:
    """The file's path, relative to the working directory if the file is under it."""
    return os.path.relpath(file) if Path(os.path.abspath(file)).is_relative_to(Path.cwd()) else str(file)


def _lines(result: CaseResult, personal: bool) -> list[str]:
    lines = []
    for one in result.differences:
        expected, came_out = _shown(one, one.expected, True, personal), _shown(one, one.came_out, False, personal)
        if one.came_out is None:
            lines.append(f"{one.field} is missing: expected {expected}")
        elif one.expected is None:
            lines.append(f"{one.field} is not expected: came out {came_out}")
        else:
            lines.append(f"{one.field} differs: expected {expected}, came out {came_out}")
    return lines + [f"because {result.detail}"] * bool(result.detail)


def _shown(one: Difference, value: Any, is_expected: bool, personal: bool) -> Any:
    """A value, masked unless ``personal``. A person has typed the expected value: it may be anything."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or personal or one.field in _CHECKED or (one.field == "detail" and not is_expected):
        return value
    return sent_shown(one.field, value) if not is_expected or _is_harmless(one.field, value) else masked(value)


def _is_harmless(field: str, value: Any) -> bool:
    """Whether a typed value is of the field's kind, so that it may be shown like one that came out of the mapping."""
    if field == "event_source_url":
        return isinstance(value, str) and network.url(value) == value
    if isinstance(value, str):
        return value in _WORDS_SENT or (field != "detail" and _CODE.fullmatch(value) is not None)
    return field in ("event_time", "data.value")


def _as_json(files: Sequence[CaseFile], results: Sequence[CaseResult], personal: bool) -> dict[str, Any]:
    cases = []
    for result in results:
        differences = [
            {
                "field": one.field,
                "expected": _shown(one, one.expected, True, personal),
                "came_out": _shown(one, one.came_out, False, personal),
            }
            for one in result.differences
        ]
        cases.append(
            {
                "file": _shown_path(result.case.file),
                "case": result.case.name,
                "verdict": result.verdict.value.lower(),
                "differences": differences if result.verdict is CaseVerdict.FAIL else [],
                "detail": result.detail if result.verdict is CaseVerdict.FAIL else "",
                "fault": result.fault,
            }
        )
    return {"cases": cases, "broken_files": [fault for file in files for fault in file.faults]}


def _written(file: Path, files: Sequence[CaseFile], results: Sequence[CaseResult]) -> Iterator[str]:
    """Write the report; yield why it can't be written. CI servers publish the file, so it is masked whatever is shown."""
    entries = [Entry(_shown_path(one.path), one.path.stem, error="\n".join(one.faults)) for one in files if one.faults]
    for result in results:
        failure = "\n".join(_lines(result, False)) if result.verdict is CaseVerdict.FAIL else ""
        entries.append(Entry(_shown_path(result.case.file), result.case.name, failure, result.fault))
    try:
        if file.is_file() and not is_report(file):
            yield f"--junit: {file} is there already and is not a report; name another file, or delete it"
        else:
            file.write_bytes(junit(entries))
    except OSError as error:
        yield f"--junit: {file} can't be written: {error.strerror}"
