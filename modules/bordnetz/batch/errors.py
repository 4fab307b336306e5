"""What can be wrong with a batch."""

from bordnetz.errors import BordnetzError


class BatchError(BordnetzError):
    """A message is not a batch or dictionary that this version can read, or was damaged."""
