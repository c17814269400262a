"""``stream-capi produce-samples``: sample events into the configured topics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from stream_capi import config
from stream_capi.cli.options import Config, Json
from stream_capi.cli.text import print_json
from stream_capi.sandbox.live_endpoint import refuse_live
from stream_capi.sandbox.sample_producer import SampleProducer, sample_topics

_LONGEST_SECONDS = 86_400.0  # of a sleep: the operating system refuses one that is far longer


def command(
    config_file: Config,
    count: Annotated[int, typer.Option(min=1, help="How many events, over all topics.")],
    rate: Annotated[float, typer.Option(min=0, help="Events a second; 0: as fast as possible.")] = 0,
    bad_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of events that lack something the API requires.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people.")] = 1,
    into_live: Annotated[
        bool, typer.Option("--into-live", help="Do it even where a member would send the samples to a live pixel.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Produce sample lead and page-view events of the shipped contract."""
    settings = config.load(config_file, keys=False)
    if not into_live:
        refuse_live(settings.endpoint.url)
    producer = SampleProducer(settings, sample_topics(settings), seed, bad_share)
    paced = paced_steps(producer.produce(count), rate)
    console = Console(stderr=True)
    for _ in track(paced, "producing", total=count, console=console, disable=as_json or not console.is_terminal):
        pass
    producer.flush()
    if as_json:
        print_json(dict(producer.acknowledged))
        return
    for topic, acknowledged in sorted(producer.acknowledged.items()):
        print(f"{topic}: {acknowledged} events acknowledged")


def paced_steps(steps: Iterable[int], rate: float) -> Iterator[int]:
    """Yield the steps (counts so far) at a rate. ``rate`` is steps a second; 0 means no limit."""
    begun = time.monotonic()
    for done in steps:
        yield done
        ahead = begun + done / rate - time.monotonic() if rate else 0
        if ahead > 0:
            time.sleep(min(ahead, _LONGEST_SECONDS))
