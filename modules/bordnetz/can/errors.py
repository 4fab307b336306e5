"""What can go wrong between a bus or a recording and its signals, by what an operator can do."""

from bordnetz.errors import BordnetzError


class BusError(BordnetzError):
    """A bus cannot be opened, read or sent to; the text says which, why and what to do."""


class RecordingError(BordnetzError):
    """A recording cannot be opened; what is broken inside of one is counted instead."""


class CatalogueError(BordnetzError):
    """The DBC files cannot be used, or do not hold what is asked for; the text says where."""

    exit_code = 78  # EX_CONFIG of sysexits.h
