"""Mutant of ``stream-capi`` that counts an event as delivered when its request is sent, not when it is answered."""

from __future__ import annotations

from stream_capi.cli import main
from stream_capi.core.batch import Batch
from stream_capi.pipeline.delivery import Delivery
from stream_capi.pipeline.lane import LaneLine

_exchange = Delivery._exchange


async def _exchange_and_believe(self: Delivery, line: LaneLine, batch: Batch, sent_at: float) -> None:
    line.delivered(batch)
    await _exchange(self, line, batch, sent_at)


if __name__ == "__main__":
    Delivery._exchange = _exchange_and_believe  # type: ignore[method-assign]  # the mutation
    main()
