"""Between capture and decoding: takes transport frames out of a block, gives messages for them.

A block without such frames costs one look at its ids.  What is kept from block to block are the
frames of open messages, as they came; a block that brings more is resolved together with them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES, Frames
from bordnetz.can.j1939 import Match, parameter_group
from bordnetz.can.transport.fast import Fast, is_fast
from bordnetz.can.transport.isotp import LONGEST, Flow, IsoTp
from bordnetz.can.transport.j1939 import CONNECTION, DATA, J1939, is_transport
from bordnetz.can.transport.packets import REASONS, Fate, Packets, Role
from bordnetz.can.transport.payload import messages
from bordnetz.can.transport.sessions import Resolution, resolve
from bordnetz.series import EXTENDED, Group

MOST_OPEN = 8192
"""Frames of open messages that are kept, of classic CAN and of CAN FD: 32 of the longest of J1939,
14 of ISO-TP.  They are looked at again with each block that brings more."""

_STANDARD = np.uint32(2048)
_FOREVER = np.iinfo(np.int64).max
_FATES = int(Fate.EXCESS) + 1
_FEW = 16
"""Up to so many ids are looked for one after the other."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """What became of a block of frames.

    For every bus, its transport frames + those that were held before = all of ``not_asked`` and
    ``dropped`` + those that carried a message of `messages` + those that are held now.

    Attributes:
        rest: The frames that are not to be put together.
        not_asked: int64, shape (buses,), transport frames of messages that nobody wants, and
            flow control.
        dropped: int64, shape (buses,) each: transport frames whose message did not become whole,
            by reason, one of `bordnetz.can.transport.packets.REASONS`.
        held: int64, shape (buses,), by how many more transport frames are held than before.
    """

    rest: Frames
    not_asked: NDArray[np.int64]
    dropped: Mapping[str, NDArray[np.int64]]
    held: NDArray[np.int64]
    _work: tuple[Frames, Packets, Resolution, NDArray[np.bool_]] | None = field(
        default=None, repr=False
    )

    def messages(self) -> Iterator[tuple[Frames, NDArray[np.int64]]]:
        """The whole messages, in the order of their last frames, in portions of bounded size.

        Yields:
            Messages as if each were a frame, see `bordnetz.can.transport.payload.messages`, and
            int64, shape (n,): how many frames each one stands for in the books.
        """
        if self._work is None:
            return
        # Transport frames that are also decoded as they are stand in the books already.
        yield from messages(*self._work)


class Assembler:
    """Puts the messages of a vehicle's buses together; see `compile`.

    Args:
        buses: How many there are.
        groups: Parameter groups that are wanted of J1939, by bus and number, and priority.
        flows: ISO-TP.
        raw: Buses of which transport frames of J1939 are wanted as they are, too.
        fast: Parameter groups that are wanted of fast packets of NMEA 2000, by bus and number.
    """

    def __init__(
        self,
        buses: int,
        groups: Mapping[tuple[int, int], int],
        flows: Iterable[Flow],
        raw: Iterable[int] = (),
        fast: Iterable[tuple[int, int]] = (),
    ) -> None:
        self._buses = buses
        self._flows = flows = tuple(flows)
        self._j1939 = J1939(groups) if groups else None
        self._speaks = np.zeros(buses, bool)
        self._speaks[[bus for bus, _ in groups]] = True
        self._raw = np.zeros(buses, bool)
        self._raw[list(raw)] = True
        self._isotp = IsoTp(flows) if flows else None
        fast = tuple(fast)
        self._fast = Fast(fast) if fast else None
        # 11-bit ids of ISO-TP in a dense table as in `bordnetz.can.index.Index`, 29-bit ids sorted.
        self._start = np.arange(buses) * (int(_STANDARD) + 1)
        self._standard = np.zeros(buses * (int(_STANDARD) + 1), bool)
        self._any_standard = any(not flow.id & EXTENDED for flow in flows)
        for flow in flows:
            if not flow.id & EXTENDED:
                self._standard[self._start[flow.bus] + flow.id] = True
        self._any_bus = self._standard.reshape(buses, -1).any(axis=0)
        long = sorted(flow.bus << 32 | flow.id for flow in flows if flow.id & EXTENDED)
        self._extended = np.array(long, np.int64)
        self._held = {width: Frames.empty(width) for width in (CLASSIC_BYTES, FD_BYTES)}
        self._deadline = dict.fromkeys(self._held, _FOREVER)

    @classmethod
    def compile(cls, catalogue: Catalogue, groups: Iterable[Group]) -> Assembler | None:
        """Make the assembler for what is wanted; None where none of it can be of many frames.

        Args:
            catalogue: All messages of the vehicle.
            groups: Of the decode tables that it is to serve.
        """
        number = {name: bus for bus, name in enumerate(catalogue.buses)}
        wanted = {(number[group.bus], group.id) for group in groups}
        announced: dict[tuple[int, int], int] = {}
        raw = set()
        for bus, all_of_bus in enumerate(catalogue.messages):
            for message in all_of_bus:
                if (bus, message.id) not in wanted or message.match is Match.ID:
                    continue
                group = int(parameter_group(np.array([message.id], np.uint32))[0])
                if group in (CONNECTION, DATA):
                    raw.add(bus)
                else:
                    announced.setdefault((bus, group), message.id >> 26 & 7)
        flows = [
            Flow(bus, one, other, pair.length_byte, (bus, one) in wanted, address, others)
            for bus, pairs in enumerate(catalogue.isotp)
            for pair in pairs
            for (one, address), (other, others) in (pair.sides, pair.sides[::-1])
            if one is not None and any((bus, id_) in wanted for id_ in pair.ids)
        ]
        # An id that the vehicle file names as ISO-TP's is that, whatever its group.
        fast = _fast(catalogue, wanted) - {
            (flow.bus, int(parameter_group(np.array([flow.id], np.uint32))[0]))
            for flow in flows
            if flow.id & EXTENDED
        }
        if not announced and not flows and not fast:
            return None
        return cls(len(catalogue.buses), announced, flows, raw, fast)

    @property
    def claims(self) -> frozenset[tuple[int, int, Match]]:
        """Frames that it takes: bus, arbitration id, and what of the id counts."""
        groups = {
            (int(bus), EXTENDED | group << 8, Match.PGN)
            for bus in self._speaks.nonzero()[0]
            for group in (CONNECTION, DATA)
        }
        if self._fast is not None:
            groups |= {(bus, EXTENDED | group << 8, Match.PGN) for bus, group in self._fast.groups}
        return frozenset(groups | {(flow.bus, flow.id, Match.ID) for flow in self._flows})

    def take(self, frames: Frames) -> Assembled | None:
        """Take the transport frames out of a block.

        Args:
            frames: In order of arrival.

        Returns:
            None where there is nothing to be said: all frames are to be decoded as they are.
        """
        width = frames.data.shape[1]
        transport = self._claim(frames)
        if transport is None:
            if (
                self._deadline[width] == _FOREVER
                or not len(frames)
                or int(frames.time.max()) <= self._deadline[width]
            ):
                return None
            transport = np.zeros(len(frames), bool)
        return self._resolve(frames, transport, width, int(frames.time.max()))

    @property
    def waiting(self) -> bool:
        """Whether there are open messages."""
        return any(map(len, self._held.values()))

    def release(self) -> tuple[Frames, Frames]:
        """Give away the frames of open messages, of classic CAN and of CAN FD.

        They are those that were told to be held; what stands in the books already is forgotten.
        """
        classic, fd = (held[self._counts(held)] for held in self._held.values())
        for width in self._held:
            self._held[width] = Frames.empty(width)
            self._deadline[width] = _FOREVER
        return classic, fd

    def give_up(self) -> Assembled:
        """Give all open messages up, as incomplete."""
        none = np.zeros(self._buses, np.int64)
        over = Assembled(
            rest=Frames.empty(),
            not_asked=none,
            dropped={reason: none.copy() for reason in REASONS},
            held=none.copy(),
        )
        for width in self._held:
            if len(self._held[width]):
                one = self._resolve(Frames.empty(width), np.empty(0, bool), width, _FOREVER)
                over.not_asked[:] += one.not_asked
                over.held[:] += one.held
                for reason, count in one.dropped.items():
                    over.dropped[reason][:] += count
        return over

    def _claim(self, frames: Frames) -> NDArray[np.bool_] | None:
        """Which frames are transport frames; None: none of them."""
        claims = []
        # Looked at in turn for any bus first: most blocks end here.
        if self._any_standard:
            some = self._any_bus.take(frames.id, None, None, "clip")
            if np.count_nonzero(some):
                place = self._start.take(frames.bus)
                place += np.minimum(frames.id, _STANDARD)
                claims.append(self._standard.take(place))
        if self._j1939 is not None and frames.data.shape[1] == CLASSIC_BYTES:
            some = is_transport(frames.id)
            if np.count_nonzero(some):
                some &= self._speaks.take(frames.bus)
                claims.append(some)
        if self._fast is not None and frames.data.shape[1] == CLASSIC_BYTES:
            claims.append(self._fast.claim(frames))
        if len(self._extended):
            claims.append(np.isin(_key(frames.bus, frames.id), self._extended))
        if not claims:
            return None
        claimed = claims[0]
        for more in claims[1:]:
            claimed |= more
        return claimed if np.count_nonzero(claimed) else None

    def _counts(self, frames: Frames) -> NDArray[np.bool_]:
        """Which transport frames stand in no other book."""
        if not self._raw.any():
            return np.ones(len(frames), bool)
        return ~(self._raw[frames.bus] & is_transport(frames.id))

    def _resolve(
        self, frames: Frames, transport: NDArray[np.bool_], width: int, now: int
    ) -> Assembled:
        held = self._held[width]
        alone = np.zeros(len(frames), bool)
        while True:
            taken = transport | alone
            pool = Frames.concat([held, frames[taken]], width)
            packets = self._packets(pool, np.append(np.zeros(len(held), bool), alone[taken]))
            bad = packets.role == Role.BAD
            good = packets[~bad] if bad.any() else packets
            found = resolve(good, pool.time[good.row], now, longest=LONGEST, most=MOST_OPEN)
            if alone.any() or not len(found.last):
                break
            # The short ones among messages of one id come without transport frames; they join
            # those of this block, or they would be decoded out of order.
            heads = good[found.piece[found.place == 0]]
            alone = _among(frames, pool.bus[heads.row], heads.id)
            alone &= ~transport
            if not alone.any():
                break
        fate = np.full(len(pool), Fate.MALFORMED, np.int8)
        fate[packets.row[~packets.wanted]] = Fate.NOT_ASKED
        fate[good.row] = found.fate
        counts = self._counts(pool)
        books = np.bincount(
            pool.bus[counts].astype(np.intp) * _FATES + fate[counts],
            minlength=self._buses * _FATES,
        ).reshape(self._buses, _FATES)
        before = np.bincount(held.bus[counts[: len(held)]], minlength=self._buses)
        still = fate == Fate.OPEN
        self._held[width] = pool[still] if still.any() else Frames.empty(width)
        self._deadline[width] = found.deadline
        return Assembled(
            rest=frames[~taken | ~self._counts(frames)],
            not_asked=books[:, Fate.NOT_ASKED],
            dropped={reason: books[:, fate] for reason, fate in REASONS.items()},
            held=books[:, Fate.OPEN] - before,
            _work=(pool, good, found, counts) if len(found.last) else None,
        )

    def _packets(self, pool: Frames, alone: NDArray[np.bool_]) -> Packets:
        """All frames as packets; ``alone``, shape (n,): those that are messages by themselves."""
        parts = []
        rest = ~alone
        if self._j1939 is not None and pool.data.shape[1] == CLASSIC_BYTES:
            of_j1939 = rest & is_transport(pool.id) & self._speaks[pool.bus]
            rest &= ~of_j1939
            parts.append(self._j1939.packets(pool, of_j1939.nonzero()[0]))
        if self._fast is not None and pool.data.shape[1] == CLASSIC_BYTES:
            of_fast = rest & self._fast.claim(pool)
            rest &= ~of_fast
            parts.append(self._fast.packets(pool, of_fast.nonzero()[0]))
        if self._isotp is not None:
            parts.append(self._isotp.packets(pool, rest.nonzero()[0]))
        if alone.any():
            rows = alone.nonzero()[0]
            whole = Packets.blank(rows, _key(pool.bus[rows], pool.id[rows]))
            whole.role[:] = Role.WHOLE
            whole.id[:] = pool.id[rows]
            whole.head[:] = whole.total[:] = pool.length[rows]
            parts.append(whole)
        return Packets.merge(parts)


def _fast(catalogue: Catalogue, wanted: Container[tuple[int, int]]) -> set[tuple[int, int]]:
    """Groups, by bus and number, that come as fast packets and hold something that is wanted."""
    found = set()
    for bus, speaks in enumerate(catalogue.nmea2000):
        if not speaks:
            continue
        messages = [message for message in catalogue.messages[bus] if message.id & EXTENDED]
        groups = parameter_group(np.array([m.id for m in messages], np.uint32)).tolist()
        fast = {g for g, m in zip(groups, messages, strict=True) if is_fast(g, m.length)}
        asked = {g for g, m in zip(groups, messages, strict=True) if (bus, m.id) in wanted}
        found |= {(bus, group) for group in fast & asked}
    return found


def _among(frames: Frames, bus: NDArray[np.uint8], ids: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which frames have one of these pairs of bus and id; bool, shape (n,)."""
    pairs = set(zip(bus.tolist(), ids.tolist(), strict=True))
    if len(pairs) > _FEW:
        return np.isin(_key(frames.bus, frames.id), _key(bus, ids))
    found = np.zeros(len(frames), bool)
    for one, number in pairs:
        found |= (frames.id == np.uint32(number)) & (frames.bus == np.uint8(one))
    return found


def _key(bus: NDArray[np.uint8], ids: NDArray[np.uint32]) -> NDArray[np.int64]:
    return bus.astype(np.int64) << 32 | ids
