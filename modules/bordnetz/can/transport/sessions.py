"""Which packets make a whole message, and what becomes of all others.

The packets of one key are messages one after another: each `Role.START` or `Role.WHOLE` begins
one.  A message ends with the first thing that happens to it: its last piece comes, a piece is
wrong, one side aborts, too much time passes.  Nothing is remembered between two looks but the
frames of messages that are still open, so that it does not matter how frames come in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.transport.packets import Fate, Packets, Role

_SLACK = 1_000_000_000
"""ns: by so much the frames of one bus may reach us later than younger ones of another."""
_FOREVER = np.iinfo(np.int64).max
_NOTHING = np.int8(0)
_NUMBERS = 1 << 32
"""More than there are sequence numbers."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What `resolve` found; packets and messages by index.

    Attributes:
        fate: int8, shape (packets,), `Fate`.
        last: intp, shape (messages,), the packet with which each message became whole; ascending.
        owner: intp, shape (packets,), the message of each packet, repeated ones included; -1 for
            packets of no whole message.
        message: intp, shape (pieces,), of whole messages: the message of each piece; ascending.
        piece: intp, shape (pieces,), the packet that carries it.
        place: int64, shape (pieces,), 0 for the first packet of a message, then its pieces from
            1 on.
        deadline: When the first of the open messages is over if nothing comes, ns; the end of
            time if none is open.
    """

    fate: NDArray[np.int8]
    last: NDArray[np.intp]
    owner: NDArray[np.intp]
    message: NDArray[np.intp]
    piece: NDArray[np.intp]
    place: NDArray[np.int64]
    deadline: int


def resolve(
    packets: Packets, time: NDArray[np.int64], now: int, *, longest: int, most: int
) -> Resolution:
    """Find the whole messages, and what becomes of each packet.

    Args:
        packets: In order of arrival, those of open messages from the last time first.
        time: int64, shape (packets,), reception, ns.
        now: The time of the youngest frame of any bus, ns.
        longest: Bytes; a message that announces more is not put together.
        most: Packets of open messages that are kept, the oldest messages make room.
    """
    if not len(packets):
        none = np.empty(0, np.intp)
        return Resolution(np.empty(0, np.int8), none, none, none, none, none, _FOREVER)
    order = packets.key.argsort(kind="stable")
    p, n = packets[order], len(packets)
    rows = np.arange(n)
    # An abort is settled at once and does not keep another message alive.
    when = time[order]
    gap = np.zeros(n, np.int64)
    alive = when[np.maximum.accumulate(np.where(p.role == Role.ABORT, 0, rows))]
    gap[1:] = when[1:] - alive[:-1]
    begins = (p.role == Role.START) | (p.role == Role.WHOLE)
    changes = np.ones(n, bool)
    changes[1:] = p.key[1:] != p.key[:-1]
    edge = begins | changes
    first = edge.nonzero()[0]
    session = edge.cumsum() - 1
    head = first[session]
    announced = begins[first]

    counted, place = _places(p, head, session)
    event = _events(p, gap, edge, head, counted, place, longest)
    end = np.minimum.reduceat(np.where(event > 0, rows, n), first)
    happened = end < n
    last_row = np.append(first[1:], n) - 1
    outcome = np.where(happened, event[np.minimum(end, n - 1)], Fate.INCOMPLETE)
    # Where too much time had passed, the packet that shows it is not of the message any more.
    late = happened & (outcome == Fate.INCOMPLETE)
    end = np.where(happened, end - late, last_row)
    newest = np.append(changes[1:], True)[last_row]
    over = alive[last_row] + p.limit[first] + _SLACK
    waits = ~happened & newest & announced & (now <= over)
    outcome[waits] = Fate.OPEN
    if (full := _without_room(first, order, np.where(waits, last_row - first + 1, 0), most)).any():
        outcome[full] = Fate.EXCESS
        waits &= ~full

    member = announced[session] & (rows <= end[session])
    fate = np.where(member, outcome[session], Fate.INCOMPLETE).astype(np.int8)
    wanted = np.where(member, p.wanted[head], p.wanted)
    fate[(p.role == Role.CONTROL) & (fate != Fate.OPEN)] = Fate.NOT_ASKED
    fate[p.role == Role.ABORT] = Fate.ABORTED
    wanted[p.role == Role.ABORT] = p.wanted[p.role == Role.ABORT]
    fate[~wanted & (fate != Fate.OPEN)] = Fate.NOT_ASKED

    # Messages by their last packet, pieces by message and place.
    carries = member & (fate == Fate.COMPLETE)
    of = (carries & (counted | begins)).nonzero()[0]
    whole = (announced & (outcome == Fate.COMPLETE) & p.wanted[first]).nonzero()[0]
    whole = whole[order[end[whole]].argsort()]
    number = np.zeros(len(first), np.intp)
    number[whole] = np.arange(len(whole))
    message = number[session[of]]
    by = np.lexsort((place[of], message))
    back = np.empty(n, np.intp)
    back[order] = rows
    return Resolution(
        fate=fate[back],
        last=order[end[whole]],
        owner=np.where(carries, number[session], -1)[back],
        message=message[by],
        piece=order[of[by]],
        place=place[of[by]],
        deadline=int(over[waits].min(initial=_FOREVER)),
    )


def _places(
    p: Packets, head: NDArray[np.intp], session: NDArray[np.intp]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which packets are counted as pieces of their message, and the place of each in it."""
    part = p.role == Role.PART
    ordered = p.ordered[head]
    counted = part
    if (free := part & ~ordered).any():
        at = free.nonzero()[0]
        _, fresh = np.unique(session[at] * _NUMBERS + p.number[at], return_index=True)
        counted = part & ordered
        counted[at[fresh]] = True
    count = counted.cumsum()
    rank = count - (count - counted)[head]
    return counted, np.where(part & ~ordered, p.number, np.where(part, rank, 0))


def _events(
    p: Packets,
    gap: NDArray[np.int64],
    edge: NDArray[np.bool_],
    head: NDArray[np.intp],
    counted: NDArray[np.bool_],
    place: NDArray[np.int64],
    longest: int,
) -> NDArray[np.int8]:
    """What would end the message at each packet, `Fate`; 0: nothing does."""
    part = p.role == Role.PART
    need, total = p.need[head], p.total[head]
    late = ~edge & (gap > p.limit[head])
    inside = part & (place >= 1) & (place <= need)
    wrong = part & (~inside | (p.ordered[head] & (p.number != place & p.wrap[head])))
    missing = total - p.head[head] - (place - 1) * p.step[head]
    short = inside & (p.size < np.minimum(p.step[head], missing))
    count = counted.cumsum()
    done = (count - (count - counted)[head]) == need
    done &= counted | (edge & (need == 0))
    # What stands further down counts first.
    event = np.where(done, Fate.COMPLETE, _NOTHING)
    event[wrong] = Fate.SEQUENCE
    event[short] = Fate.MALFORMED
    event[edge & (total > longest)] = Fate.EXCESS
    event[(p.role == Role.ABORT) & (p.about == p.about[head])] = Fate.ABORTED
    event[late] = Fate.INCOMPLETE
    return event


def _without_room(
    first: NDArray[np.intp], order: NDArray[np.intp], size: NDArray[np.int64], most: int
) -> NDArray[np.bool_]:
    """Which sessions have to go, the oldest first, so that ``most`` packets stay at most.

    Args:
        first: intp, shape (sessions,), their first packets.
        order: intp, shape (packets,), the arrival of each.
        size: int64, shape (sessions,), packets that are kept of each, 0 for none.
        most: See above.
    """
    if size.sum() <= most:
        return np.zeros(len(size), bool)
    youngest = order[first].argsort()[::-1]
    kept = size[youngest].cumsum() <= most
    gone = np.ones(len(size), bool)
    gone[youngest[kept]] = False
    return gone & (size > 0)
