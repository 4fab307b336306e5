"""A slot a series: where state is kept in arrays for every series seen so far."""

import numpy as np
from numpy.typing import NDArray


class Slots:
    """Numbers series in the order they first appear, found again without Python work per series.

    A series is a group under one arbitration id.  A J1939 group has as many as there are senders
    on the bus, so the number is bounded: a bus full of made-up ids must not fill the memory.
    """

    LIMIT = 16_384
    """Series beyond it share the last slot."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._slots = np.empty(0, np.int64)

    def __len__(self) -> int:
        """How many slots are in use."""
        return len(self._keys)

    def of(
        self, group: NDArray[np.integer], arbitration_id: NDArray[np.uint32]
    ) -> NDArray[np.int64]:
        """The slots of series, given by columns of equal length; unknown series get new ones.

        Args:
            group: integer, shape (n,), index into the decode table's groups.
            arbitration_id: uint32, shape (n,).

        Returns:
            int64, shape (n,), each below `len`.
        """
        keys = group.astype(np.int64) << 32 | arbitration_id.astype(np.int64)
        found = self._find(keys)
        if (found < 0).any():
            new = np.unique(keys[found < 0])[: self.LIMIT - len(self)]
            numbers = np.arange(len(self), len(self) + len(new))
            keys_all = np.concatenate((self._keys, new))
            order = np.argsort(keys_all, kind="stable")
            self._slots = np.concatenate((self._slots, numbers))[order]
            self._keys = keys_all[order]
            found = self._find(keys)
            found[found < 0] = self.LIMIT - 1
        return found

    def _find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._slots[at], -1)
