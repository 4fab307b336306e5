"""The quality of samples: flags beside raw values, never instead of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.dbc import Field, Message
from bordnetz.can.e2e import Verdict
from bordnetz.can.frames import Frames
from bordnetz.can.j1939 import Match
from bordnetz.can.silence import Rows, Silence, rows
from bordnetz.can.table import Matches
from bordnetz.series import Group, Kind, Quality, Samples

_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
_NEVER = 1 << 62
"""In the place of a J1939 indicator that a signal does not have: none has so many bits."""

_BY_VERDICT = np.zeros(len(Verdict), np.uint8)
_BY_VERDICT[Verdict.WRONG_CRC] = Quality.WRONG_CRC
_BY_VERDICT[Verdict.REPEATED] = Quality.REPEATED
_BY_VERDICT[Verdict.LOST] = Quality.AFTER_LOSS
_BY_VERDICT[Verdict.OUT_OF_SEQUENCE] = Quality.OUT_OF_SEQUENCE

_SIGN = {Kind.FLOAT16: 15, Kind.FLOAT32: 31, Kind.FLOAT64: 63}
"""The bit that tells the sign."""


class Assessor:
    """Tells the quality of samples.

    Raw values are compared as integers, those of other kinds in an order in which they are some.
    A series' signals are looked at by their lowest and highest values first, so that only those
    of which one value is not well take more.

    Args:
        catalogue: All messages.
        groups: The decode table's; those with ``quality`` are looked at, the others are always
            well.
    """

    def __init__(self, catalogue: Catalogue, groups: Sequence[Group]) -> None:
        messages = {
            (bus, message.id): message
            for bus, those in zip(catalogue.buses, catalogue.messages, strict=True)
            for message in those
        }
        nmea2000 = dict(zip(catalogue.buses, catalogue.nmea2000, strict=True))
        fields = [
            place
            for group in groups
            for place in _fields(messages[group.bus, group.id], group, nmea2000[group.bus])
        ]
        size = np.array([len(group.signals) for group in groups], np.int64)
        self._first = size.cumsum() - size
        self._asked = np.array([group.quality for group in groups], bool)
        bounds = np.array([_bounds(place) for place, _ in fields], np.int64).reshape(-1, 2)
        self._low, self._high = bounds.T.copy()
        said = np.array([indicators(place) for place, indicators in fields], np.int64).reshape(
            -1, 3
        )
        self._error, self._absent, self._shift = said.T.copy()
        self._from = np.where(self._error == _NEVER, _HIGHEST, self._error << self._shift)
        unasked = ~self._asked.repeat(size)
        self._low[unasked] = _LOWEST
        self._high[unasked] = self._from[unasked] = _HIGHEST
        self._kind = np.array([place.signal.kind for place, _ in fields], np.int8)
        self._special = bool(self._kind.any())
        silence = Silence(catalogue, groups)
        self._silence = silence or None

    def follow(self, frames: Frames, matches: Matches) -> Rows | None:
        """Follow the multiplexers of a block, for `assess`: all of its matches, none left out."""
        return None if self._silence is None else self._silence.follow(frames, matches)

    def assess(
        self,
        samples: Samples,
        checked: tuple[NDArray[np.intp], NDArray[np.uint8]] | None = None,
        late: Rows | None = None,
    ) -> Samples:
        """The samples of a block with their quality.

        Args:
            samples: Of the block; ``order`` is the index of the frame.
            checked: Index of each frame that was checked, intp, shape (n,), and its `Verdict`,
                uint8, shape (n,); None where nothing is checked.
            late: From `follow`.
        """
        flags = np.zeros(len(samples), np.uint8)
        if not len(samples):
            return replace(samples, quality=flags)
        # Each signal of each series is a run of values.
        width = samples.width.astype(np.int64)
        start: NDArray[np.int64] = width.cumsum() - width
        field = (self._first.take(samples.group) - start).repeat(width)
        field += np.arange(len(field))
        count = samples.count.repeat(width)
        begin: NDArray[np.int64] = count.cumsum() - count
        self._assess_values(samples.values, field, begin, count, flags)
        of_row = self._of_rows(samples, checked, late)
        if of_row is not None:
            row: NDArray[np.int64] = (samples.count.cumsum() - samples.count).repeat(width)
            asked = self._asked.take(samples.group).repeat(width).nonzero()[0]
            there = count.take(asked)
            at = _places(begin.take(asked), there)
            flags[at] |= of_row.take(_places(row.take(asked), there))
        return replace(samples, quality=flags)

    def _assess_values(
        self,
        raw: NDArray[np.int64],
        field: NDArray[np.int64],
        begin: NDArray[np.int64],
        count: NDArray[np.int64],
        flags: NDArray[np.uint8],
    ) -> None:
        """Set the flags that values get for themselves: ``count[i]`` from ``begin[i]`` on a run."""
        values = raw
        if self._special:
            kind = self._kind.take(field)
            special = kind.nonzero()[0]
            if len(special):
                at = _places(begin.take(special), count.take(special))
                values = raw.copy()
                values[at] = _ordered(raw.take(at), kind.take(special).repeat(count.take(special)))
        lowest = np.minimum.reduceat(values, begin)
        highest = np.maximum.reduceat(values, begin)
        odd = lowest < self._low.take(field)
        odd |= highest > self._high.take(field)
        odd |= highest >= self._from.take(field)
        runs = odd.nonzero()[0]
        if not len(runs):
            return
        there = count.take(runs)
        at = _places(begin.take(runs), there)
        each = field.take(runs).repeat(there)
        some = values.take(at)
        wrong = (some < self._low.take(each)) | (some > self._high.take(each))
        found = wrong * np.uint8(Quality.OUT_OF_RANGE)
        top = some >> self._shift.take(each)
        found[top == self._error.take(each)] = Quality.ERROR
        found[top == self._absent.take(each)] = Quality.NOT_AVAILABLE
        flags[at] = found

    @staticmethod
    def _of_rows(
        samples: Samples,
        checked: tuple[NDArray[np.intp], NDArray[np.uint8]] | None,
        late: Rows | None,
    ) -> NDArray[np.uint8] | None:
        """What is said of whole rows, uint8, shape (rows,); None where nothing is."""
        said = None
        if checked is not None:
            by_frame = _BY_VERDICT.take(checked[1])
            if np.count_nonzero(by_frame):
                frame = checked[0]
                of_frame = np.zeros(
                    int(max(samples.order.max(initial=0), frame.max())) + 1, np.uint8
                )
                of_frame[frame] = by_frame
                said = of_frame.take(samples.order)
        if late is not None and len(late):
            here = np.isin(rows(samples.group.repeat(samples.count), samples.order), late)
            silent = here * np.uint8(Quality.AFTER_SILENCE)
            said = silent if said is None else said | silent
        return said


def _places(begin: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of runs of ``count[i]`` from ``begin[i]`` on, one behind the other."""
    at: NDArray[np.int64] = (begin - count.cumsum() + count).repeat(count)
    at += np.arange(len(at))
    return at


_Indicators = Callable[[Field], tuple[int, int, int]]
"""What says instead of a signal's value that there is an error, or that none is available, and
how far a raw value is shifted to the right to see it."""


def _fields(message: Message, group: Group, nmea2000: bool) -> Iterable[tuple[Field, _Indicators]]:
    """The places of a group's signals, and how to find what stands there for no value."""
    places = {place.signal.name: place for place in message.fields}
    indicators = _none if message.match is Match.ID else _of_nmea2000 if nmea2000 else _of_j1939
    for signal in group.signals:
        yield places[signal.name], indicators


def _bounds(place: Field) -> tuple[int, int]:
    """The lowest and the highest raw value in the DBC file's limits, as `_ordered` orders them."""
    if place.limits is None:
        return _LOWEST, _HIGHEST
    signal = place.signal
    factor, offset = float(signal.factor), float(signal.offset)
    if factor == 0:
        return _LOWEST, _HIGHEST
    low, high = sorted((limit - offset) / factor for limit in place.limits)
    if signal.kind in _SIGN:
        number = {Kind.FLOAT16: np.float16, Kind.FLOAT32: np.float32}.get(signal.kind, np.float64)
        with np.errstate(over="ignore"):
            raw = np.array([low, high]).astype(number)
        bits = raw.view(f"u{raw.itemsize}").astype(np.uint64).view(np.int64)
        one, other = _ordered(bits, np.full(2, signal.kind, np.int8)).tolist()
        return one, other
    # Limits are written in decimal: half a step of rounding is none of the signal's fault.
    lowest, highest = _whole(low - 0.5, up=True), _whole(high + 0.5, up=False)
    if signal.kind is Kind.UINT64:
        lowest, highest = max(lowest, 0) + _LOWEST, min(highest, (1 << 64) - 1) + _LOWEST
    return max(lowest, _LOWEST), min(highest, _HIGHEST)


def _whole(value: float, *, up: bool) -> int:
    if abs(value) > 1 << 65:
        return 1 << 65 if value > 0 else -(1 << 65)
    return int(np.ceil(value)) if up else int(np.floor(value))


def _ordered(raw: NDArray[np.int64], kind: NDArray[np.int8]) -> NDArray[np.int64]:
    """Raw values as integers that have their order; NaN lies beyond the infinities."""
    ordered = raw.copy()
    at = (kind == Kind.UINT64).nonzero()[0]
    ordered[at] ^= _LOWEST
    for special, bit in _SIGN.items():
        at = (kind == special).nonzero()[0]
        bits = raw.take(at)
        # Sign and magnitude: the larger the bits of a negative number, the smaller it is.
        magnitude = bits & ((1 << bit) - 1)
        ordered[at] = np.where(bits >> bit & 1, -magnitude, magnitude)
    return ordered


def _none(_: Field) -> tuple[int, int, int]:
    """Every value is one."""
    return _NEVER, _NEVER, 0


def _of_j1939(place: Field) -> tuple[int, int, int]:
    """SAE J1939-71, ranges of transmitted values.

    Of one to four bytes those that begin with 0xFE and 0xFF, of two bits 10 and 11.
    """
    if place.signed or place.signal.kind is not Kind.INT:
        return _none(place)
    if place.length == 2:
        return 0b10, 0b11, 0
    if place.length in (8, 16, 24, 32) and _is_quantity(place):
        return 0xFE, 0xFF, place.length - 8
    return _none(place)


def _of_nmea2000(place: Field) -> tuple[int, int, int]:
    """NMEA 2000, reserved values: the highest that the bits can have, and the one below it.

    Also of signed numbers, and of any whole number of bytes up to eight.
    """
    if place.signal.kind is not Kind.INT:
        return _none(place)
    highest = (1 << place.length - place.signed) - 1
    if place.length == 2 or (place.length % 8 == 0 and _is_quantity(place)):
        return highest - 1, highest, 0
    return _none(place)


def _is_quantity(place: Field) -> bool:
    """Numbers without unit and scaling are identifiers and texts, which may have any value."""
    signal = place.signal
    return signal.factor != 1 or signal.offset != 0 or signal.unit != ""
