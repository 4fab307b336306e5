"""What a DBC file says that is not used, or not as it is written there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MOST = 10_000
"""Problems of a file that are told; a hostile file could have one a line."""
_SHOWN = 60
"""Characters of a name or of a piece of a file in the text of a problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a DBC file that is not used, or not as written there.

    Attributes:
        file: The DBC file.
        message: The message's name, "" where the whole file is concerned.
        signal: The signal's name, "" where the whole message is concerned.
        reason: What is wrong, and what becomes of it.
        line: Where it stands in the file, 0 where it stands in no one place.
        mended: Nothing that frames carry is lost or doubtful by it.
    """

    file: Path
    message: str
    signal: str
    reason: str
    line: int = 0
    mended: bool = False

    def is_of(self, message: str) -> bool:
        """Whether it is of a message of that name, or of one of its signals."""
        return bool(message) and self.message == message[:_SHOWN]

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        names = ("signal", self.signal), ("message", self.message)
        what = " of ".join(f"{kind} '{name}'" for kind, name in names if name)
        return f"{place}: {what or 'the whole file'}: {self.reason}"


class Problems:
    """The problems of one file, as they are found.

    Attributes:
        line: Where reading is.
        names: Of messages, by their numbers as other statements write them.
    """

    def __init__(self, file: Path) -> None:
        self.line = 1
        self.names: dict[str, str] = {}
        self._file = file
        self._found: list[Problem] = []
        self._more = [0, 0]

    def tell(
        self,
        reason: object,
        number: str = "",
        signal: str = "",
        line: int | None = None,
        *,
        mended: bool = False,
    ) -> None:
        """Keep a problem, or count it where there are too many already.

        Args:
            reason: As in `Problem`.
            number: Of the message, as other statements write it.
            signal: As in `Problem`.
            line: None for where reading is.
            mended: As in `Problem`.
        """
        if len(self._found) == _MOST:
            self._more[mended] += 1
            return
        message = self.names.get(number, number)[:_SHOWN]
        line = self.line if line is None else line
        self._found.append(Problem(self._file, message, signal[:_SHOWN], str(reason), line, mended))

    def all(self) -> list[Problem]:
        """Those that are kept, in the order of their lines, and how many there were beyond."""
        found = sorted(self._found, key=lambda problem: problem.line)
        for mended, count in enumerate(self._more):
            if count:
                reason = f"and {count} more that are {'' if mended else 'not '}mended"
                found.append(Problem(self._file, "", "", reason, mended=bool(mended)))
        return found


def shown(text: str) -> str:
    """The beginning of a piece of a file, on one line and in quotation marks."""
    return repr(text[:_SHOWN].partition("\n")[0].strip())
