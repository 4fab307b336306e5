"""Senders of multi-packet messages, frame by frame as their standards say, for the tests."""

from __future__ import annotations

from bordnetz.series import EXTENDED

Sent = tuple[int, bytes]
"""Arbitration id and data of a frame."""

TOOL, ENGINE, BRAKE = 0xF9, 0x00, 0x0B
ALL = 0xFF


def connection(source: int, destination: int, *content: int) -> Sent:
    return EXTENDED | 0x1CEC0000 | destination << 8 | source, bytes(content)


def announce(
    control: int, group: int, length: int, source: int, destination: int, packets: int | None = None
) -> Sent:
    packets = -(-length // 7) if packets is None else packets
    last = 0xFF
    head = (control, length & 0xFF, length >> 8, packets, last)
    return connection(source, destination, *head, *group.to_bytes(3, "little"))


def data(payload: bytes, source: int, destination: int) -> list[Sent]:
    pieces = [payload[at : at + 7] for at in range(0, len(payload), 7)]
    return [
        (EXTENDED | 0x1CEB0000 | destination << 8 | source, bytes([n]) + piece.ljust(7, b"\xff"))
        for n, piece in enumerate(pieces, 1)
    ]


def broadcast(group: int, payload: bytes, source: int) -> list[Sent]:
    """BAM of SAE J1939-21."""
    return [announce(32, group, len(payload), source, ALL), *data(payload, source, ALL)]


def clear(group: int, count: int, following: int, source: int, destination: int) -> Sent:
    """CTS: ``source`` is the receiver, which answers ``destination``."""
    return connection(
        source, destination, 17, count, following, 0xFF, 0xFF, *group.to_bytes(3, "little")
    )


def end(group: int, length: int, source: int, destination: int) -> Sent:
    head = (19, length & 0xFF, length >> 8, -(-length // 7), 0xFF)
    return connection(source, destination, *head, *group.to_bytes(3, "little"))


def abort(group: int, source: int, destination: int) -> Sent:
    return connection(source, destination, 255, 1, 0xFF, 0xFF, 0xFF, *group.to_bytes(3, "little"))


def directed(
    group: int, payload: bytes, source: int, destination: int, burst: int = 3
) -> list[Sent]:
    """RTS, and CTS for ``burst`` packets each time, until the end is acknowledged."""
    frames = [announce(16, group, len(payload), source, destination)]
    packets = data(payload, source, destination)
    for at in range(0, len(packets), burst):
        some = packets[at : at + burst]
        frames += [clear(group, len(some), at + 1, destination, source), *some]
    return [*frames, end(group, len(payload), destination, source)]


def isotp(
    arbitration_id: int,
    payload: bytes,
    size: int = 8,
    partner: int | None = None,
    addresses: tuple[int, int] | None = None,
):
    """ISO 15765-2 with frames of ``size`` bytes; flow control where ``partner`` is told.

    With ``addresses`` extended or mixed addressing: the byte before all others, and the partner's.
    """
    one, other = (b"", b"") if addresses is None else (bytes([each]) for each in addresses)
    size -= len(one)
    room = size - 1 if size <= 8 - len(one) else size - 2
    if len(payload) <= room:
        short = len(payload) <= 7 - len(one)
        head = bytes([len(payload)]) if short else bytes([0, len(payload)])
        return [(arbitration_id, _padded(one + head + payload, size + len(one)))]
    if len(payload) < 4096:
        head = (0x1000 | len(payload)).to_bytes(2, "big")
    else:
        head = b"\x10\x00" + len(payload).to_bytes(4, "big")
    at = size - len(head)
    frames: list[Sent] = [(arbitration_id, one + head + payload[:at])]
    if partner is not None:
        frames.append((partner, other + bytes([0x30, 0, 0])))
    number = 1
    while at < len(payload):
        piece = bytes([0x20 | number & 15]) + payload[at : at + size - 1]
        frames.append((arbitration_id, _padded(one + piece, size + len(one))))
        at, number = at + size - 1, number + 1
    return frames


def _padded(frame: bytes, size: int) -> bytes:
    return frame.ljust(min(n for n in (8, 12, 16, 20, 24, 32, 48, 64) if n >= len(frame)), b"\xcc")[
        :size
    ]
