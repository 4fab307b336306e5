"""The boot loader, through a program of the vehicle file that knows its variables.

The program understands the words of RAUC's custom boot loader backend (RAUC, docs/integration.rst,
"Custom"), so that one program serves both:

get-current           prints the side that runs, and, if it likes, a word that tells this build of
                      the system from all others
get-primary           prints the side that the next boot takes
set-primary SIDE      has the next boot take it: for good if it runs, else on trial
set-state SIDE STATE  ``good``: the trial has succeeded; ``bad``: it is not booted any more
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bordnetz.ota.installers.command import Command, CommandError
from bordnetz.ota.installers.quote import quote
from bordnetz.ota.installers.trouble import TroubleError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class BootLoaderError(TroubleError):
    """The program fails, or says what nobody understands, or has not done what was asked."""


@dataclass(frozen=True, slots=True)
class BootLoader:
    """The program, and how long it may take.

    Attributes:
        command: The words above are added to its arguments.
    """

    command: Command

    def current(self) -> tuple[str, str]:
        """The side that runs, and the build that runs, "" where the program does not tell.

        Raises:
            BootLoaderError: The program has failed, or its answer is not understood.
        """
        words = self._ask("get-current", 2)
        return words[0], words[1] if len(words) > 1 else ""

    def primary(self) -> str:
        """The side that the next boot takes.

        Raises:
            BootLoaderError: The program has failed, or its answer is not understood.
        """
        return self._ask("get-primary", 1)[0]

    def switch(self, side: str) -> None:
        """Have the next boot take a side, and see whether it will.

        Raises:
            BootLoaderError: It will not, or the program has failed.
        """
        self._run("set-primary", side)
        primary = self.primary()
        if primary != side:
            raise BootLoaderError(
                f"{side} was made primary, but the boot loader still names {primary}; check the "
                f"program {self.command.argv[0]}"
            )

    def mark(self, side: str, state: str) -> None:
        """Mark a side ``good`` or ``bad``.

        Raises:
            BootLoaderError: The program has failed.
        """
        self._run("set-state", side, state)

    def _ask(self, word: str, most: int) -> list[str]:
        answer = self._run(word)
        words = answer.split()
        if not 1 <= len(words) <= most or not all(map(_WORD.fullmatch, words)):
            raise BootLoaderError(
                f"{self.command.argv[0]} {word}: printed no side, but: {quote(answer) or 'nothing'}"
            )
        return words

    def _run(self, *words: str) -> str:
        try:
            return Command((*self.command.argv, *words), self.command.timeout).run()
        except CommandError as error:
            raise BootLoaderError(f"the boot loader's program {error}") from error
