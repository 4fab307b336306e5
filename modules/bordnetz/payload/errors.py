"""What can be wrong with the bytes of an update."""

from bordnetz.errors import BordnetzError


class PayloadError(BordnetzError):
    """A payload, or a form in which it travels, is not what it must be."""

    exit_code = 65  # EX_DATAERR of sysexits.h


class TreeError(PayloadError):
    """A folder cannot be a payload, or a payload is no canonical tar of a folder."""


class FrameError(PayloadError):
    """A compressed payload is damaged, or not of the kind that is made here."""


class DeltaError(PayloadError):
    """A delta is damaged, not of the kind that is made here, or meant for another base."""
