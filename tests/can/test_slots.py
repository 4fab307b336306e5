import numpy as np

from bordnetz.can.slots import Slots


def of(slots, *series):
    group, arbitration_id = zip(*series, strict=True)
    return slots.of(np.array(group, np.int32), np.array(arbitration_id, np.uint32)).tolist()


def test_a_series_keeps_its_slot_when_others_come():
    slots = Slots()
    first = of(slots, (3, 0x100))
    of(slots, (1, 0x200), (9, 0x8CF00400))
    assert of(slots, (3, 0x100)) == first
    assert len(slots) == 3


def test_every_series_has_a_slot_of_its_own():
    series = [(g, i) for g in range(20) for i in (0, 1, 0xFFFFFFFF)]
    assert sorted(of(Slots(), *series)) == list(range(60))


def test_made_up_ids_do_not_fill_the_memory():
    slots = Slots()
    ids = np.arange(Slots.LIMIT + 1000, dtype=np.uint32)
    found = slots.of(np.zeros(len(ids), np.int32), ids)
    assert len(slots) == Slots.LIMIT
    assert found.max() == Slots.LIMIT - 1
