"""DBC files of every kind, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

EXTENDED = 1 << 31


def bits_of(start: int, length: int, big: bool) -> set[int]:
    """Positions in the frame, each byte's bits from the least significant one."""
    if not big:
        return set(range(start, start + length))
    first = start ^ 7
    return {bit ^ 7 for bit in range(first, first + length)}


class Writer:
    """Writes the DBC text of one message as hypothesis draws it."""

    def __init__(self, draw: st.DrawFn, frame_id: int, name: str, size: int) -> None:
        self.draw, self.frame_id, self.name, self.size = draw, frame_id, name, size
        self.lines = [f"BO_ {frame_id} {name}: {size} X"]
        self.tail: list[str] = []
        self.count = 0

    def signal(
        self, taken: set[int], branch: tuple[str, list[int]] | None, selects: bool
    ) -> tuple[str, int] | None:
        """Draw a signal that overlaps none of ``taken``; its name and length."""
        draw = self.draw
        kind = draw(st.sampled_from(["u", "u", "s", "f"])) if not selects else "u"
        if kind == "f":
            length = draw(st.sampled_from([16, 32, 64]))
        else:
            length = draw(st.integers(1, 8 if selects else 64))
        big = draw(st.booleans())
        start = draw(st.integers(0, 8 * self.size - 1))
        bits = bits_of(start, length, big)
        if bits & taken or max(bits) >= 8 * self.size:
            return None
        taken |= bits
        name = f"S{self.count}"
        self.count += 1
        marker = f"m{branch[1][0]}" if branch else ""
        marker += "M" if selects else ""
        factor = draw(st.sampled_from(["1", "1", "2", "0.5", "-0.1"])) if not selects else "1"
        offset = draw(st.sampled_from(["0", "0", "-40", "1.5"])) if not selects else "0"
        self.lines.append(
            f" SG_ {name} {marker} : {start}|{length}@{'0' if big else '1'}"
            f'{"-" if kind == "s" else "+"} ({factor},{offset}) [0|0] "" X'
        )
        if kind == "f":
            self.tail.append(f"SIG_VALTYPE_ {self.frame_id} {name} : {2 if length == 64 else 1};")
        if branch:
            ranges = ",".join(f"{value}-{value}" for value in branch[1])
            self.tail.append(f"SG_MUL_VAL_ {self.frame_id} {name} {branch[0]} {ranges};")
        return name, length

    def tree(self, taken: set[int], branch: tuple[str, list[int]] | None, depth: int) -> None:
        for _ in range(self.draw(st.integers(1, 5))):
            self.signal(taken, branch, False)
        for _ in range(self.draw(st.integers(0, 2)) if depth else 0):
            selector = self.signal(taken, branch, True)
            if selector is None:
                continue
            name, length = selector
            values = st.integers(0, min((1 << length) - 1, 5))
            used: dict[int, set[int]] = {}
            for _ in range(self.draw(st.integers(0, 3))):
                ids = sorted(self.draw(st.sets(values, min_size=1, max_size=3)))
                # Branches may share values; their signals are then there together.
                inside = set(taken).union(*(used.get(value, set()) for value in ids))
                self.tree(inside, (name, ids), depth - 1)
                for value in ids:
                    used.setdefault(value, set()).update(inside)


@st.composite
def databases(draw: st.DrawFn, size: int) -> str:
    lines, tail = ['VERSION ""', "BU_: X"], []
    ids = draw(
        st.lists(
            st.one_of(
                st.integers(0, 0x7FF), st.integers(0, 0x1FFF_FFFF).map(lambda i: i | EXTENDED)
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    for number, frame_id in enumerate(ids):
        writer = Writer(draw, frame_id, f"M{number}", draw(st.integers(1, size)))
        writer.tree(set(), None, draw(st.integers(0, 2)))
        lines += writer.lines
        tail += writer.tail
    return "\n".join(lines + tail) + "\n"
