import numpy as np
from canhelp import frames_of, same_frames

from bordnetz.can.frames import Block, Frames


def test_columns_have_the_documented_types_and_shapes() -> None:
    for width in (8, 64):
        for frames in (Frames.empty(width), frames_of(5, width)):
            assert frames.time.dtype == np.int64
            assert frames.bus.dtype == frames.flags.dtype == frames.length.dtype == np.uint8
            assert frames.id.dtype == np.uint32
            assert frames.data.dtype == np.uint8
            assert frames.data.shape == (len(frames), width)


def test_concat_keeps_order_and_an_empty_one_keeps_its_width() -> None:
    frames = frames_of(10)
    assert same_frames(Frames.concat([frames[:3], Frames.empty(8), frames[3:]]), frames)
    assert Frames.concat([], 64).data.shape == (0, 64)


def test_frames_are_picked_by_slice_mask_and_index() -> None:
    frames = frames_of(10)
    mask = np.arange(10) % 2 == 0
    assert same_frames(frames[mask], frames[np.flatnonzero(mask)])
    assert same_frames(frames[::2], frames[mask])


def test_a_block_counts_all_that_was_received() -> None:
    one = np.array([0, 1])
    block = Block.of(2, frames_of(3), frames_of(2, 64), remote=one, error=2 * one, broken=3 * one)
    assert block.received.tolist() == [5, 6]
    twice = Block.concat([block, block])
    assert twice.received.tolist() == [10, 12]
    assert len(twice.classic) == 6
    assert len(twice.fd) == 4
