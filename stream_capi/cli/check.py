"""``stream-capi check``: the preflight."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from stream_capi import config
from stream_capi.cli.options import Config, Json
from stream_capi.cli.text import plain, print_json
from stream_capi.config.secrets import Unreadable, read_password
from stream_capi.errors import ConfigurationError, ExitCode
from stream_capi.operations.cluster_check import Finding
from stream_capi.operations.preflight import findings


def command(config_file: Config, as_json: Json = False) -> None:
    """Check configuration, brokers, topics, registry, mappings and endpoint, without sending an event."""
    found: list[Finding] = []
    try:
        settings = config.load(config_file)
    except ConfigurationError as error:
        found = [Finding("configuration", False, fault) for fault in error.faults]
        settings = _without_keys(config_file, found, as_json)
    raise typer.Exit(asyncio.run(_check(settings, found, as_json)))


def _without_keys(config_file: Path, found: list[Finding], as_json: bool) -> config.Settings:
    """The settings if only the pixels' keys can't be read: the rest can be checked without them. Exits otherwise."""
    try:
        settings = config.load(config_file, keys=False)
        if settings.kafka.sasl_password_file is not None:
            read_password(settings.kafka)
    except (ConfigurationError, Unreadable):
        _print_all(found, as_json)
        raise typer.Exit(ExitCode.FAILED) from None
    if not as_json:
        _print_all(found, as_json)
    return settings


async def _check(settings: config.Settings, found: list[Finding], as_json: bool) -> int:
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
    print(f"{'pass' if finding.passed else 'FAIL'}  {plain(f'{finding.subject}: {finding.detail}')}", flush=True)
