"""What can go wrong with a drive."""

from bordnetz.errors import BordnetzError


class ChoiceError(BordnetzError):
    """The options of the drive do not go together, or name what is not there."""

    exit_code = 2


class DriveError(BordnetzError):
    """The drive could not start or did not end as it should."""


class ProcessError(DriveError):
    """A process of the drive ended when it should not have."""


class StoppedError(DriveError):
    """The drive was asked to end before it had begun."""

    exit_code = 130  # As shells give it for SIGINT: 128 + 2.
