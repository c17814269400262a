"""``stream-capi explain``: how an event becomes a ServerEvent, field by field."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stream_capi import config
from stream_capi.cli.explanation import explanation_as_json, is_sent, print_explanation
from stream_capi.cli.options import Config, Json
from stream_capi.cli.selection import DEFAULT_SINCE, KEY_HELP, SINCE_HELP, wanted_of
from stream_capi.cli.sources import sources_of
from stream_capi.cli.text import print_json
from stream_capi.errors import ExitCode
from stream_capi.kafka.scan import latest_records, record_at
from stream_capi.model import Record
from stream_capi.operations.explain import explain_file, explain_records


def command(
    config_file: Config,
    topic: Annotated[str, typer.Option(help="The topic of one of the sources.")],
    partition: Annotated[int | None, typer.Option(min=0, help="With --offset: the record's partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="With --partition: the record's offset.")] = None,
    latest: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="The newest N records of the topic, or of those found (by default 1)."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="One record's value as it is on the wire; or, in a .json file, its fields."),
    ] = None,
    key: Annotated[str | None, typer.Option(help=KEY_HELP)] = None,
    event_id: Annotated[str | None, typer.Option(help="The event_id that the mapping gives the record.")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="FIELD=VALUE", help="A field of the record, by its path, and its value as text."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help=f"With --key, --event-id, --where. {SINCE_HELP}", show_default=DEFAULT_SINCE)
    ] = None,
    show_personal_data: Annotated[bool, typer.Option("--show-personal-data", help="Show values unmasked.")] = False,
    as_json: Json = False,
) -> None:
    """Show how an event becomes a ServerEvent: source path, rule, result or why it fails, field by field.

    Exit 0 only if every event that is shown would be sent.
    """
    if (partition is None) != (offset is None):
        raise typer.BadParameter("--partition and --offset go together")
    wanted = wanted_of(key, event_id, None, where)
    if sum(given is not None for given in (offset, latest if wanted is None else wanted, file)) != 1:
        raise typer.BadParameter(
            "give one of --partition with --offset, --latest, --key, --event-id, --where and --file; "
            "--latest also goes with --key, --event-id and --where"
        )
    if since is not None and wanted is None:
        raise typer.BadParameter("--since goes with --key, --event-id or --where; leave it out")
    settings = config.load(config_file, keys=False)
    sources = sources_of(settings, topic)
    if wanted is not None:
        from stream_capi.cli.searching import selected  # imported here: only a search needs it

        chosen = selected(settings, topic, wanted, since or DEFAULT_SINCE, latest or 1, quiet=as_json)
        explained = asyncio.run(explain_records(settings, sources, chosen))
    elif file is not None:
        explained = asyncio.run(explain_file(settings, sources, file))
    else:
        records: Sequence[Record] = (
            [record_at(settings.kafka, topic, partition, offset)]
            if partition is not None and offset is not None
            else latest_records(settings.kafka, topic, latest or 1)
        )
        explained = asyncio.run(explain_records(settings, sources, records))
    if as_json:
        print_json([explanation_as_json(one, show_personal_data) for one in explained], indent=2)
    elif not explained:
        print(f"{topic} has no records")
    for one in explained if not as_json else ():
        print_explanation(one, show_personal_data)
    if not explained or not all(map(is_sent, explained)):
        raise typer.Exit(ExitCode.FAILED)
