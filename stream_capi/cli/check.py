"""``stream-capi check``: the preflight."""

from __future__ import annotations

import asyncio

import typer

from stream_capi import config
from stream_capi.cli.options import Config, Json
from stream_capi.cli.text import print_json
from stream_capi.errors import ConfigurationError, ExitCode
from stream_capi.operations.cluster_check import Finding
from stream_capi.operations.preflight import findings


def command(config_file: Config, as_json: Json = False) -> None:
    """Look at configuration, brokers, topics, registry, mappings and endpoint, without sending an event."""
    try:
        settings = config.load(config_file)
    except ConfigurationError as error:
        found = [Finding("configuration", False, fault) for fault in error.faults]
        _print_all(found, as_json)
        raise typer.Exit(ExitCode.FAILED) from None
    raise typer.Exit(asyncio.run(_check(settings, as_json)))


async def _check(settings: config.Settings, as_json: bool) -> int:
    found = []
    async for finding in findings(settings):
        found.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        _print_all(found, as_json)
    return ExitCode.DONE if all(finding.passed for finding in found) else ExitCode.FAILED


def _print_all(found: list[Finding], as_json: bool) -> None:
    if as_json:
        print_json([finding._asdict() for finding in found], indent=2)
    else:
        for finding in found:
            _print(finding)


def _print(finding: Finding) -> None:
    print(f"{'pass' if finding.passed else 'FAIL'}  {finding.subject}: {finding.detail}", flush=True)
