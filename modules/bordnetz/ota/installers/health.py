"""Whether the system that runs is well, by the vehicle file's health command."""

from __future__ import annotations

from bordnetz.ota.installers.command import Command, CommandError
from bordnetz.ota.installers.installer import UnhealthyError


def check(health: Command | None, side: str) -> None:
    """Run the command.

    Args:
        health: It; None: that the system runs is enough.
        side: Which side runs, for the error.

    Raises:
        UnhealthyError: It is not content.
    """
    if health is None:
        return
    try:
        health.run()
    except CommandError as error:
        raise UnhealthyError(f"{side} runs, but is not well: {error}") from error
