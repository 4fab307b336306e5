"""What keeps a head unit from being updated that is no fault of the version."""

from __future__ import annotations

from bordnetz.errors import BordnetzError


class TroubleError(BordnetzError):
    """It cannot be done now: something around the installation is missing, busy, broken or wrong.

    Not an `InstallError`, which is held against the version that was to be installed: after this
    one the same version is tried again later.
    """


class UnavailableError(TroubleError):
    """Another program that is needed does not run, does not answer, or is at something else.

    That passes by itself, so that it is waited for, with what has come so far.
    """
