"""What becomes of transport frames, one frame after the other: the oracle of the tests.

It knows one bus, wanted groups of J1939 and wanted ids of ISO-TP.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bordnetz.series import EXTENDED

MS = 1_000_000


@dataclass
class Session:
    wanted: bool
    total: int
    limit: int
    last: int
    members: list[int]
    id: int
    group: int | None = None
    ordered: bool = True
    size: int = 8
    payload: dict[int, bytes] = field(default_factory=dict)
    head: bytes = b""
    need: int = 0


@dataclass
class Model:
    """Feed `frame` one frame after the other, then `finish`; fates and messages are the result.

    Attributes:
        groups: Wanted groups of J1939.
        flows: Ids of ISO-TP, or pairs of id and address, and whether they are wanted.
        partners: From the id, or the pair, of a flow to that of its receiver's flow control.
        addressed: Ids with pairs.
    """

    groups: set[int]
    flows: dict[object, bool]
    partners: dict[object, object]
    addressed: frozenset[int] = frozenset()
    fates: dict[int, str] = field(default_factory=dict)
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    _open: dict[object, Session] = field(default_factory=dict)

    def frame(self, number: int, time: int, arbitration_id: int, data: bytes) -> None:
        if arbitration_id in self.addressed:
            key = (arbitration_id, data[0] if data else None)
            if key in self.flows:
                self._isotp(number, time, arbitration_id, data[1:], key, len(data))
            else:
                self.fates[number] = "not asked"
        elif arbitration_id in self.flows:
            self._isotp(number, time, arbitration_id, data, arbitration_id, len(data))
        elif arbitration_id & EXTENDED and arbitration_id >> 16 & 0x3FF in (0xEC, 0xEB):
            self._j1939(number, time, arbitration_id, data)

    def finish(self) -> None:
        for key in list(self._open):
            self._close(key, "incomplete")

    # -- sessions

    def _start(self, key: object, session: Session) -> None:
        if key in self._open:
            self._close(key, "incomplete")
        self._open[key] = session

    def _close(self, key: object, fate: str) -> None:
        session = self._open.pop(key)
        for member in session.members:
            if self.fates.get(member) != "not asked":
                self.fates[member] = fate if session.wanted else "not asked"

    def _alive(self, key: object, time: int) -> Session | None:
        session = self._open.get(key)
        if session is not None and time - session.last > session.limit:
            self._close(key, "incomplete")
            return None
        return session

    def _control(self, number: int, time: int, key: object) -> None:
        self.fates[number] = "not asked"
        session = self._alive(key, time)
        if session is not None:
            session.last = time

    def _part(self, number: int, time: int, key: object, wanted: bool, data: bytes) -> None:
        session = self._alive(key, time)
        if session is None:
            self.fates[number] = "incomplete" if wanted else "not asked"
            return
        session.last = time
        session.members.append(number)
        step = session.size - 1
        if session.group is None:
            place = len(session.payload) + 1
            right = data[0] & 15 == place & 15
        elif session.ordered:
            place = len(session.payload) + 1
            right = data[0] == place
        else:
            place = data[0]
            right = 1 <= place <= session.need
        if 1 <= place <= session.need:
            missing = session.total - len(session.head) - (place - 1) * step
            if len(data) - 1 < min(step, missing):
                self._close(key, "malformed")
                return
        if not right:
            self._close(key, "sequence")
            return
        session.payload.setdefault(place, data[1 : 1 + step])
        if len(session.payload) == session.need:
            whole = session.head + b"".join(session.payload[n + 1] for n in range(session.need))
            if session.wanted:
                self.messages.append((number, session.id, whole[: session.total]))
            self._close(key, "complete")

    # -- protocols

    def _j1939(self, number: int, time: int, arbitration_id: int, data: bytes) -> None:
        source, destination = arbitration_id & 0xFF, arbitration_id >> 8 & 0xFF
        if arbitration_id >> 16 & 0xFF == 0xEB:
            if len(data) < 2:
                self.fates[number] = "malformed"
            else:
                self._part(number, time, (source, destination), True, data)
            return
        if len(data) != 8:
            self.fates[number] = "malformed"
            return
        control, total, count = data[0], data[1] | data[2] << 8, data[3]
        group = int.from_bytes(data[5:8], "little") & 0x3FFFF
        wanted = group in self.groups
        if control in (16, 32):
            fits = (destination == 0xFF) == (control == 32)
            if not fits or not 0 < total <= 1785 or count != -(-total // 7):
                self.fates[number] = "malformed"
                return
            message = EXTENDED | 6 << 26 | group << 8 | source
            if group & 0xFF00 < 0xF000:
                message |= destination << 8
            self._start(
                (source, destination),
                Session(
                    wanted=wanted,
                    total=total,
                    limit=(750 if control == 32 else 1250) * MS,
                    last=time,
                    members=[number],
                    id=message,
                    group=group,
                    ordered=control == 32,
                    need=count,
                ),
            )
        elif control in (17, 19):
            self._control(number, time, (destination, source))
        elif control == 255:
            self.fates[number] = "aborted" if wanted else "not asked"
            for key in {(source, destination), (destination, source)}:
                session = self._alive(key, time)
                if session is not None and session.group == group:
                    self._close(key, "aborted")
        else:
            self.fates[number] = "malformed"

    def _isotp(
        self, number: int, time: int, arbitration_id: int, data: bytes, key: object, whole: int
    ) -> None:
        wanted = self.flows[key]
        kind = data[0] >> 4 if data else -1
        if kind == 0 and (single := _single(data, whole)) is not None:
            if key in self._open:
                self._close(key, "incomplete")
            self.fates[number] = "complete" if wanted else "not asked"
            if wanted:
                self.messages.append((number, arbitration_id, single))
        elif kind == 1 and (first := _first(data, whole)) is not None:
            total, head = first
            session = Session(
                wanted=wanted,
                total=total,
                limit=2000 * MS,
                last=time,
                members=[number],
                id=arbitration_id,
                size=len(data),
                head=head,
                need=-(-(total - len(head)) // (len(data) - 1)),
            )
            self._start(key, session)
            if total > 4095:
                self._close(key, "excess")
        elif kind == 2 and len(data) > 1:
            self._part(number, time, key, wanted, data)
        elif kind == 3 and len(data) > 2 and data[0] & 15 < 2:
            self._control(number, time, self.partners.get(key))
        elif kind == 3 and len(data) > 2 and data[0] & 15 == 2:
            partner = self.partners.get(key)
            self.fates[number] = "aborted" if self.flows.get(partner) else "not asked"
            if self._alive(partner, time) is not None:
                self._close(partner, "aborted")
        else:
            self.fates[number] = "malformed" if wanted else "not asked"


def _single(data: bytes, whole: int) -> bytes | None:
    length, begin = (data[0] & 15, 1) if whole <= 8 else (data[1], 2)
    if whole > 8 and data[0] & 15:
        return None
    return data[begin : begin + length] if 0 < length <= len(data) - begin else None


def _first(data: bytes, whole: int) -> tuple[int, bytes] | None:
    if whole < 8:
        return None
    total, begin = (data[0] & 15) << 8 | data[1], 2
    least = len(data) if whole == 8 else len(data) - 1
    if total == 0:
        total, begin, least = int.from_bytes(data[2:6], "big"), 6, 4096
    return (total, data[begin:]) if total >= least else None
