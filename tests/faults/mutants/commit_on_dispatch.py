"""``stream-capi`` made wrong: an event counts as delivered when its request goes out, and not when it is answered."""

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
    Delivery._exchange = _exchange_and_believe  # type: ignore[method-assign]  # that is what a mutant is
    main()
