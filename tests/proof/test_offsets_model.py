"""The offset tracker against a model that is too simple to be wrong: plain sets of numbers.

The model knows which offsets were handed over, which of them are open, and which have an outcome; everything that the
tracker returns is compared with the sets. Hand-overs use the text that a commit would carry: whole, cut short, with
another log's name, or of another version.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from stream_capi.core.offset_metadata import METADATA_LIMIT, Ranges, decode_outcomes, topic_id_of
from stream_capi.core.offsets import PartitionOffsets
from tests.proof.profile import tries

FOREIGN = st.one_of(
    st.text(max_size=80),
    st.text("0123456789:capi", max_size=30),
    st.builds("capi2:{}:{}:{}".format, st.sampled_from(["", "kQ3Z", "other"]), st.integers(0, 9), st.text()),
)
EPOCH = 4
BEYOND = 60  # how far past the read position the model compares


def numbers(ranges: Ranges) -> set[int]:
    return {offset for first, last, _ in ranges for offset in range(first, last)}


class OffsetsModel(RuleBasedStateMachine):
    """One partition's log over any number of assignments."""

    log = "kQ3Z"

    @initialize(start=st.integers(0, 10_000))
    def first_assignment(self, start: int) -> None:
        self.done: set[int] = set()  # offsets with an outcome, and gaps: not waited for
        self.open: dict[int, int] = {}  # offset: size
        self.end = start
        self.committed = start
        self.settled: set[int] = set()  # offsets whose outcome this owner knows from the one before
        self.former: list[PartitionOffsets] = []
        self.offsets = PartitionOffsets("leads", 0, 1, start, leader_epoch=EPOCH)

    @rule(gaps=st.integers(0, 2**20 - 1), behind=st.integers(0, 3), size=st.integers(0, 5000))
    def read(self, gaps: int, behind: int, size: int) -> None:
        """Track a chunk with gaps within it (by the bits of ``gaps``) and after it, without offsets settled before."""
        chunk = [self.end + at for at in range(gaps.bit_length()) if gaps >> at & 1]
        end = self.end + gaps.bit_length() + behind
        chunk = [offset for offset in chunk if not self.offsets.was_resolved_before(offset, EPOCH)]
        self.offsets.track(chunk, [size + offset % 7 for offset in chunk], end, [(self.end, EPOCH)])
        self.open |= {offset: size + offset % 7 for offset in chunk}
        self.done |= set(range(self.end, end)) - set(chunk)
        self.end = end

    @rule(which=st.lists(st.integers(0, 60), min_size=1, max_size=20), at_once=st.booleans())
    def resolve(self, which: list[int], at_once: bool) -> None:
        """Resolve offsets in any order, some twice; some have no effect: not open ones, or on a former owner's tracker."""
        waiting = sorted(self.open)
        offsets = [waiting[at % len(waiting)] if waiting else self.end + at for at in which]
        if at_once:
            self.offsets.resolve_all(offsets)
        else:
            for offset in offsets:
                self.offsets.resolve(offset)
        if waiting:
            self.done.update(offsets)
        self.open = {offset: size for offset, size in self.open.items() if offset not in offsets}
        for former in self.former:
            for offset in list(self.open)[::2]:
                former.resolve(offset)

    @rule(back=st.integers(1, 300), with_records=st.booleans())
    def read_what_was_read(self, back: int, with_records: bool) -> None:
        """A chunk that was read before is refused, and changes nothing."""
        chunk = [self.end - back] if with_records else []
        with pytest.raises(ValueError, match="is behind"):
            self.offsets.track(chunk, [1] * len(chunk), self.end if with_records else self.end - back)

    @rule(
        how=st.sampled_from(["whole", "limited", "cut", "version", "log", "no log", "reset", "foreign"]), data=st.data()
    )
    def hand_over(self, how: str, data: Any) -> None:
        """Hand over by the text of a commit: a whole one, one with limited room, or one that the next owner must ignore."""
        watermark = self.offsets.watermark
        limit = data.draw(st.integers(0, 60)) if how == "limited" else METADATA_LIMIT
        text = self.offsets.outcomes_beyond(limit, self.log)
        assert len(text.encode()) <= limit
        if how == "cut":
            text = text[: -data.draw(st.integers(1, 12))]
        elif how == "version":
            text = text.replace("capi2", "capi3")
        elif how == "foreign":
            text = data.draw(FOREIGN)
            assume(not text.startswith(f"capi2:{self.log}:{watermark}:"))
        log = {"log": "another", "no log": ""}.get(how, self.log)
        decoded = numbers(decode_outcomes(text, watermark + 1 if how == "reset" else watermark, log))
        known = {offset for offset in self.done | self.settled if offset >= watermark}
        if how == "whole":
            assert decoded == known
            assert topic_id_of(text) == self.log
        elif how == "limited":
            assert decoded == {offset for offset in known if offset <= max(decoded, default=-1)}, (
                "the far end is left out"
            )
        else:
            assert decoded == set(), "not for this owner, or not whole: nothing of it is believed"
            assert how not in ("version", "cut") or topic_id_of(text) in ("", self.log)
        self._next_owner(watermark, text if decoded else "")

    def _next_owner(self, watermark: int, text: str) -> None:
        self.former.append(self.offsets)
        ranges = decode_outcomes(text, watermark, self.log)
        self.settled = numbers(ranges)
        # Offsets that are missing in the text are read again, except gaps. That is safe, so the model just forgets them.
        self.done = {offset for offset in self.done if offset < watermark}
        self.open = {}
        self.end = self.committed = watermark
        self.offsets = PartitionOffsets("leads", 0, self.offsets.epoch + 1, watermark, ranges, EPOCH)

    @invariant()
    def the_tracker_says_what_the_sets_say(self) -> None:
        offsets = self.offsets
        assert offsets.watermark == min(self.open, default=self.end)
        assert offsets.position == self.end
        assert offsets.unresolved == len(self.open)
        assert offsets.open_bytes == sum(self.open.values())
        around = range(max(0, self.committed - 3), self.end + BEYOND)
        assert [o for o in around if offsets.is_open(o)] == sorted(self.open)
        assert [o for o in around if offsets.was_resolved_before(o, EPOCH)] == [o for o in around if o in self.settled]

    @invariant()
    def it_never_goes_back(self) -> None:
        assert self.offsets.watermark >= self.committed
        self.committed = self.offsets.watermark


@pytest.mark.slow
def test_the_tracker_agrees_with_plain_sets() -> None:
    run_state_machine_as_test(OffsetsModel, settings=tries(150, steps=40))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "code"),
    [
        ("the end for the watermark", property(lambda self: self._end)),
        ("one past the first open one", property(lambda self: next(iter(self._open), self._end - 1) + 1)),
        ("the smallest that was resolved last", property(lambda self: min(self._open, default=self.start))),
    ],
)
def test_the_model_can_fail(monkeypatch: pytest.MonkeyPatch, mutant: str, code: property) -> None:
    monkeypatch.setattr(PartitionOffsets, "watermark", code)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(OffsetsModel, settings=tries(1000, steps=20, database=None))
