"""What an operator of the release tool is told."""

from bordnetz.errors import BordnetzError


class ReleaseError(BordnetzError):
    """A command of the release tool cannot be done; the text says why and what to do."""
