"""End-to-end protection of received frames: is the CRC right, and does the counter go up by one.

Profiles 1 and 2 of AUTOSAR_FO_PRS_E2EProtocol, and bare counters; `bordnetz.can.checks` says
where they lie in a frame.  All frames of a block are judged together, whatever their profile:

- Profile 1: CRC-8 with polynomial 0x1D, initial value and final XOR 0, over the data id and then
  over all data but the CRC; the counter runs from 0 to 14.
- Profile 2: CRC-8 with polynomial 0x2F, initial value and final XOR 0xFF, over all data but the
  CRC and then over the data id that the counter selects; the counter runs from 0 to 15.

A CRC covers as many bytes as the DBC file gives the message; what follows them is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.checks import Profile1, Profile2
from bordnetz.can.crc import H2F, J1850, contributions
from bordnetz.can.dbc import Field
from bordnetz.can.frames import FD_BYTES, Frames
from bordnetz.can.layout import Layout, words
from bordnetz.series import Signal

COUNTER = Field(Signal("counter"), start=8, length=4, big_endian=False, signed=False, branch=())
"""Where the counter of profiles 1 and 2 lies."""

_P01_VALUES, _P02_VALUES = 15, 16
_DATA_IDS = 16
"""Entries of a data id list; they are also what stands for one id under each counter value."""
_P02_START = 0xFF
"""Initial value and final XOR."""
_NONE = np.iinfo(np.int64).max
"""In the place of a bare counter that the frame does not reach."""


class Verdict(IntEnum):
    """What is to be said of a frame with regard to the one before it."""

    OK = 0
    FIRST = 1
    """Nothing is known to compare its counter with."""
    WRONG_CRC = 2
    """Or it ends before what the CRC covers; its counter counts for nothing."""
    REPEATED = 3
    """Its counter is that of the frame before."""
    LOST = 4
    """Its counter has jumped ahead by half of its values at most: so many less one are missing."""
    OUT_OF_SEQUENCE = 5
    """Its counter has jumped further, which may be a step back, or has no value that it may have;
    a bare counter's frame may end before it."""


@dataclass(frozen=True, slots=True)
class Protected:
    """How a message is protected.

    Attributes:
        profile: Its profile; None for a bare counter.
        counter: Where the counter lies.
        modulus: How many values it has.
        length: Bytes that the CRC covers, itself included; with a bare counter those up to it.
    """

    profile: Profile1 | Profile2 | None
    counter: Field
    modulus: int
    length: int

    @classmethod
    def by_profile(cls, profile: Profile1 | Profile2, length: int) -> Protected:
        """A message of ``length`` bytes under profile 1 or 2."""
        values = _P01_VALUES if isinstance(profile, Profile1) else _P02_VALUES
        return cls(profile, COUNTER, values, length)

    @classmethod
    def by_counter(cls, counter: Field, modulus: int | None) -> Protected:
        """A message with a bare counter."""
        return cls(None, counter, modulus or 1 << counter.length, counter.need)


class Protections:
    """The protection of some messages, compiled.

    Args:
        protected: Of each message; those with a bare counter come last.
    """

    def __init__(self, protected: Sequence[Protected]) -> None:
        profiles = [one for one in protected if one.profile is not None]
        if any(one.profile is None for one in protected[: len(profiles)]):
            raise ValueError("messages with bare counters should come last")
        self._profiles = len(profiles)
        self._layout = Layout([one.counter for one in protected])
        self._modulus = np.array([one.modulus for one in protected], np.int64)
        self._length = np.array([one.length for one in protected], np.int64)
        # One flat table: a row of zeros for bytes that no CRC covers, one that gives the byte
        # itself for the CRC, then the contributions of both polynomials.
        table = np.concatenate(
            (
                np.zeros((1, 256), np.uint8),
                np.arange(256, dtype=np.uint8)[np.newaxis],
                contributions(J1850, FD_BYTES + 1),
                contributions(H2F, FD_BYTES + 1),
            )
        )
        begin = {J1850: 2, H2F: 2 + FD_BYTES + 2}
        place = np.zeros((len(profiles), FD_BYTES), np.intp)
        ids = np.zeros((len(profiles), _DATA_IDS), np.uint8)
        self._nibble = np.zeros(len(profiles), np.uint8)
        self._nibble_mask = np.zeros(len(profiles), np.uint8)
        for number, one in enumerate(profiles):
            covered = np.arange(1, one.length)
            after = one.length - 1 - covered
            place[number, 0] = 1
            if isinstance(one.profile, Profile1):
                place[number, covered] = begin[J1850] + after
                ids[number] = _p01_ids(one.profile, table[begin[J1850] :], one.length)
                if one.profile.data_id_mode == "nibble":
                    self._nibble[number] = one.profile.data_id >> 8 << 4
                    self._nibble_mask[number] = 0xF0
            elif one.profile is not None:
                place[number, covered] = begin[H2F] + after + 1
                ids[number] = _p02_ids(one.profile, table[begin[H2F] :], one.length)
        self._any_nibble = bool(self._nibble_mask.any())
        self._all_places = place * 256
        self._places: dict[int, NDArray[np.intp]] = {}
        self._ids = ids.ravel()
        self._table = table.ravel()
        # By slot: counter of the last frame whose CRC was right, -1 before the first.
        self._last = np.full(len(protected), -1, np.int64)

    def grow(self, slots: int) -> None:
        """Make room for the state of ``slots`` senders."""
        missing = slots - len(self._last)
        if missing > 0:
            self._last = np.append(self._last, np.full(missing, -1, np.int64))

    def judge(
        self,
        frames: Frames,
        frame: NDArray[np.intp],
        message: NDArray[np.intp],
        slot: NDArray[np.int64],
        edges: NDArray[np.intp],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Judge frames.

        Args:
            frames: A block.
            frame: intp, shape (n,), index of each frame: sender after sender, and in order of
                arrival for each.
            message: intp, shape (n,), ascending, the message that it is, in the order given at
                first.
            slot: int64, shape (senders,), where each sender's state is kept.
            edges: intp, shape (senders + 1,), where each sender's frames begin; last n.

        Returns:
            `Verdict`, uint8, shape (n,), and how many frames are missing before it, int64,
            shape (n,).
        """
        profiles = int(message.searchsorted(self._profiles))
        counter, wrong = self._check(frames, frame[:profiles], message[:profiles])
        short = frames.length.take(frame) < self._length.take(message)
        wrong |= short[:profiles]
        if profiles < len(frame):
            bare = self._layout.read(
                words(frames.data, frame[profiles:]),
                message[profiles:],
                np.arange(len(frame) - profiles),
                np.ones(len(frame) - profiles, np.int64),
            )
            bare[short[profiles:]] = _NONE
            counter = np.concatenate((counter, bare))
        modulus = self._modulus.take(message)
        strange = counter >= modulus
        if not np.count_nonzero(wrong) and not np.count_nonzero(strange):
            return self._follow(counter, modulus, slot, edges)
        verdict = np.zeros(len(frame), np.uint8)
        missing = np.zeros(len(frame), np.int64)
        verdict[strange] = Verdict.OUT_OF_SEQUENCE
        verdict[:profiles][wrong] = Verdict.WRONG_CRC
        good = (verdict == Verdict.OK).nonzero()[0]
        if len(good):
            # Senders of which no frame is left drop out.
            left = edges.searchsorted(good, "right") - 1
            edge = np.ones(len(good) + 1, bool)
            np.not_equal(left[1:], left[:-1], out=edge[1:-1])
            edges = edge.nonzero()[0]
            verdict[good], missing[good] = self._follow(
                counter.take(good), modulus.take(good), slot.take(left.take(edges[:-1])), edges
            )
        return verdict, missing

    def _check(
        self, frames: Frames, frame: NDArray[np.intp], message: NDArray[np.intp]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Counters of frames under profile 1 or 2, and whether their CRC is wrong."""
        # A message of many frames may be longer than all that a profile covers.
        data = frames.data[:, :FD_BYTES].take(frame, axis=0)
        counter = (data[:, 1] & 0x0F).astype(np.int64)
        place = self._place(data.shape[1]).take(message, axis=0)
        place += data
        residue = np.bitwise_xor.reduce(self._table.take(place), axis=1)
        residue ^= self._ids.take(message * _DATA_IDS + counter)
        wrong = residue != 0
        if self._any_nibble:
            nibble = data[:, 1] ^ self._nibble.take(message)
            wrong |= (nibble & self._nibble_mask.take(message)) != 0
        return counter, wrong

    def _place(self, width: int) -> NDArray[np.intp]:
        """By message and byte, of frames with room for so many: the place in the flat table."""
        if width not in self._places:
            self._places[width] = np.ascontiguousarray(self._all_places[:, :width])
        return self._places[width]

    def _follow(
        self,
        counter: NDArray[np.int64],
        modulus: NDArray[np.int64],
        slot: NDArray[np.int64],
        edges: NDArray[np.intp],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Verdict and missing frames by the counters alone, each below its modulus."""
        start = edges[:-1]
        before = np.empty(len(counter), np.int64)
        before[1:] = counter[:-1]
        known = self._last.take(slot)
        before[start] = known
        self._last[slot] = counter.take(edges[1:] - 1)
        verdict = np.zeros(len(counter), np.uint8)
        missing = np.zeros(len(counter), np.int64)
        ahead = counter - before
        odd = (ahead != 1).nonzero()[0]
        if len(odd):  # Most of them have begun anew at 0.
            values, ahead = modulus.take(odd), ahead.take(odd)
            ahead += values * (ahead < 0)
            odd, ahead, values = (one[ahead != 1] for one in (odd, ahead, values))
        if len(odd):
            lost = ahead <= values >> 1
            missing[odd] = lost * (ahead - 1)
            verdict[odd] = np.where(lost, Verdict.LOST, Verdict.OUT_OF_SEQUENCE)
            repeated = odd[ahead == 0]
            verdict[repeated] = Verdict.REPEATED
            missing[repeated] = 0
        new = start[known < 0]
        if len(new):
            verdict[new] = Verdict.FIRST
            missing[new] = 0
        return verdict, missing


def _p01_ids(profile: Profile1, table: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """What the data id adds to the CRC under each counter value, uint8, shape (16,)."""
    low, high = profile.data_id & 0xFF, profile.data_id >> 8
    data = length - 1  # bytes that follow it
    if profile.data_id_mode == "both":
        return np.full(_DATA_IDS, table[data + 1, low] ^ table[data, high])
    if profile.data_id_mode == "nibble":
        return np.full(_DATA_IDS, table[data + 1, low])
    if profile.data_id_mode == "low":
        return np.full(_DATA_IDS, table[data, low])
    even = np.arange(_DATA_IDS) % 2 == 0
    ids: NDArray[np.uint8] = np.where(even, table[data, low], table[data, high])
    return ids


def _p02_ids(profile: Profile2, table: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """As `_p01_ids`; with what initial value and final XOR add."""
    start = table[length - 1, _P02_START]  # as a byte before all others: data and data id follow
    ids: NDArray[np.uint8] = table[0, np.array(profile.data_ids)] ^ start ^ np.uint8(_P02_START)
    return ids
