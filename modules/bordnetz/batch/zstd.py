"""zstandard with a bound: a few bytes must not become all memory."""

from __future__ import annotations

import zstandard


def compress(data: bytes, level: int) -> bytes:
    """Make one frame that states its content's size."""
    return zstandard.ZstdCompressor(level=level).compress(data)


def decompress(data: bytes, limit: int) -> bytes:
    """Undo `compress`.

    Args:
        data: Untrusted.
        limit: Most bytes that may come out.

    Raises:
        ValueError: It is not one whole frame, or its content is larger or of unknown size.
    """
    try:
        # The library allocates what the frame states; "not stated" is a huge number.
        if zstandard.get_frame_parameters(data).content_size > limit:
            raise ValueError(f"it states no size or one above {limit} bytes")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
