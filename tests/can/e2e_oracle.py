"""End-to-end protection by the book: one frame after the other, one bit after the other."""

from __future__ import annotations

from dataclasses import dataclass, field


def crc8(data: bytes, polynomial: int, start: int, final: int) -> int:
    register = start
    for byte in data:
        for bit in range(7, -1, -1):
            feedback = (register >> 7) ^ (byte >> bit & 1)
            register = register << 1 & 0xFF
            if feedback:
                register ^= polynomial
    return register ^ final


def p01_crc(data: bytes, data_id: int, mode: str) -> int:
    low, high = data_id & 0xFF, data_id >> 8
    head = {
        "both": [low, high],
        "alternating": [high if data[1] & 1 else low],
        "low": [low],
        "nibble": [low, 0],
    }[mode]
    return crc8(bytes(head) + data[1:], 0x1D, 0, 0)


def p02_crc(data: bytes, data_ids: list[int]) -> int:
    return crc8(data[1:] + bytes([data_ids[data[1] & 0x0F]]), 0x2F, 0xFF, 0xFF)


@dataclass
class Sender:
    """What a receiver knows of one sender."""

    last: int | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def judge(self, counter: int, modulus: int, *, crc_right: bool) -> str:
        verdict, missing = self._verdict(counter, modulus, crc_right)
        if crc_right and counter < modulus:
            self.last = counter
        for name, count in (("frames", 1), (verdict, 1), ("missing", missing)):
            self.counts[name] = self.counts.get(name, 0) + count
        return verdict

    def _verdict(self, counter: int, modulus: int, crc_right: bool) -> tuple[str, int]:
        if not crc_right:
            return "WRONG_CRC", 0
        if counter >= modulus:
            return "OUT_OF_SEQUENCE", 0
        if self.last is None:
            return "FIRST", 0
        steps, at = 0, self.last
        while at != counter:
            at = (at + 1) % modulus
            steps += 1
        if steps == 0:
            return "REPEATED", 0
        if steps == 1:
            return "OK", 0
        return ("LOST", steps - 1) if steps <= modulus // 2 else ("OUT_OF_SEQUENCE", 0)
