"""Samples for the tests of the batch format: of a fixed table, with columns of every temper."""

import numpy as np
from hypothesis import strategies as st

from bordnetz.batch.dictionary import Dictionary
from bordnetz.series import EXTENDED, Group, Kind, Samples, Signal

GROUPS = (
    Group(
        "drive",
        "Motor",
        0x100,
        signals=(
            Signal("Speed", "km/h", factor=0.01),
            Signal("Torque", "Nm", factor=0.5, offset=-500),
            Signal("Gear", choices=((0, "P"), (1, "R"), (2, "N"), (3, "D"))),
            Signal("Energy", "J", Kind.UINT64),
        ),
    ),
    Group("drive", "Probe", 0x101, signals=(Signal("Level", "V", Kind.FLOAT32),)),
    Group(
        "truck",
        "EEC1",
        0x0CF00400 | EXTENDED,
        by_pgn=True,
        signals=(Signal("EngineSpeed", "rpm", factor=0.125), Signal("Mode", offset=-3)),
    ),
    Group(
        "drive",
        "Cell",
        0x102,
        branch=(("Index", (1, 3)),),
        interval=1_000_000,
        signals=(Signal("Voltage", "V", Kind.FLOAT64),),
    ),
)

DICTIONARY = Dictionary(GROUPS, bytes(range(32)), bytes(range(32, 64)))

START = 1_700_000_000_000_000_000

_EXTREMES = st.sampled_from([0, 1, -1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63)])
_STYLES = ("walk", "smooth", "noise", "rare", "constant", "counter", "checksum", "wild", "ramp")


def column(rows: int, style: str, seed: int) -> np.ndarray:
    """One column of raw values."""
    rng = np.random.default_rng(seed)
    base = int(rng.integers(-(2**40), 2**40))
    if style == "walk":
        return base + np.cumsum(rng.integers(-5, 6, rows))
    if style == "smooth":
        return base + np.cumsum(np.cumsum(rng.integers(-2, 3, rows)))
    if style == "noise":
        return base + np.rint(rng.normal(0, 40, rows)).astype(np.int64)
    if style == "rare":
        return np.cumsum(rng.random(rows) < 0.02).astype(np.int64)
    if style == "counter":
        return np.arange(rows, dtype=np.int64) % 16
    if style == "checksum":
        return rng.integers(0, 256, rows)
    if style == "wild":
        return rng.integers(-(2**63), 2**63 - 1, rows, endpoint=True)
    if style == "ramp":
        return base + np.arange(rows, dtype=np.int64) * 10_000 // 7
    return np.full(rows, base)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> np.ndarray:
    """A column: of a style, or of extremes that hypothesis picks."""
    if rows <= 12 and draw(st.booleans()):
        return np.array(draw(st.lists(_EXTREMES, min_size=rows, max_size=rows)), np.int64)
    return column(rows, draw(st.sampled_from(_STYLES)), draw(st.integers(0, 2**32)))


def _series_key(key: tuple[int, int, int]) -> tuple[int, int, int]:
    group, source, missing = key
    by_pgn, signals = GROUPS[group].by_pgn, len(GROUPS[group].signals)
    return group, source if by_pgn else 0, max(signals - missing, 1)


@st.composite
def samples(draw: st.DrawFn, max_rows: int = 200) -> Samples:
    """Samples over `GROUPS`; none, one or many series, clocks that step back, cut frames."""
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from(range(len(GROUPS))), st.integers(0, 2), st.integers(0, 1)),
            max_size=6,
            unique_by=_series_key,
        )
    )
    group = np.array([key[0] for key in keys], np.int32)
    ids = [GROUPS[g].id + (source if GROUPS[g].by_pgn else 0) for g, source, _ in keys]
    width = [max(len(GROUPS[g].signals) - missing, 1) for g, _, missing in keys]
    count = [draw(st.one_of(st.integers(0, 8), st.integers(0, max_rows))) for _ in keys]
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    total = sum(count)
    owner = rng.permutation(np.repeat(np.arange(len(keys)), count))
    order = np.argsort(owner, kind="stable").astype(np.int64)
    step = rng.integers(0, 20_000_000, total)
    if draw(st.booleans()):
        step = np.where(rng.random(total) < 0.05, -3_600_000_000_000, step)
    time = (START + np.cumsum(step))[order]
    values = [draw(columns(n)) for n, w in zip(count, width, strict=True) for _ in range(w)]
    return Samples(
        GROUPS,
        group,
        np.array(ids, np.uint32),
        np.array(width, np.int32),
        np.array(count, np.int64),
        time,
        order,
        np.concatenate(values) if values else np.empty(0, np.int64),
    )


def series(blocks: list[Samples]) -> dict[tuple[int, int, int], list[tuple[int, ...]]]:
    """Every series as rows of time and values, in order: what must not change on the way."""
    rows: dict[tuple[int, int, int], list[tuple[int, ...]]] = {}
    for block in blocks:
        row = value = 0
        for g, i, w, n in zip(block.group, block.id, block.width, block.count, strict=True):
            matrix = block.values[value : value + n * w].reshape(w, n)
            times = block.time[row : row + n]
            if n:
                rows.setdefault((int(g), int(i), int(w)), []).extend(
                    (int(times[k]), *matrix[:, k].tolist()) for k in range(n)
                )
            row += n
            value += n * w
    return rows


def floored(
    rows: dict[tuple[int, int, int], list[tuple[int, ...]]], unit: int
) -> dict[tuple[int, int, int], list[tuple[int, ...]]]:
    """The same with times in whole units."""
    return {key: [(row[0] // unit * unit, *row[1:]) for row in part] for key, part in rows.items()}
