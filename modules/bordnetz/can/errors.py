"""What can go wrong between a bus or a recording and the frames, by what an operator can do."""

from bordnetz.errors import BordnetzError


class BusError(BordnetzError):
    """A bus cannot be opened, read or sent to; the text says which, why and what to do."""


class RecordingError(BordnetzError):
    """A recording cannot be opened; what is broken inside of one is counted instead."""
