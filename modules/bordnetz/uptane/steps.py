"""How a verification that touches no disk and no network asks for what it needs.

A verification is a generator: it yields a `Need`, is sent the file's bytes, or None where there is
no such file, and returns its result.  Whoever drives it fetches; what goes wrong there is raised
where it goes wrong and ends the verification.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Need:
    """A file that is needed next.

    Attributes:
        repository: Whose: ``director`` or ``image``; ``time`` is a time server, which may be
            silent (None), and whose file's name is the question.
        role: Of which role; ``time`` is the signed time.
        name: Of the file in the repository.
        limit: Bytes that it may have.
        stored: Wanted is not the repository's file, but the one of this role that was kept when a
            verification last ended well; None where it is gone or damaged.
    """

    repository: str
    role: str
    name: str
    limit: int
    stored: bool = False


Steps: TypeAlias = Generator[Need, bytes | None, R]


def drive(steps: Steps[R], answer: Callable[[Need], bytes | None]) -> R:
    """Take a verification to its end.

    Args:
        steps: The verification.
        answer: Gives what it needs; what this raises ends it.
    """
    data: bytes | None = None
    while True:
        try:
            need = steps.send(data)
        except StopIteration as end:
            result: R = end.value
            return result
        data = answer(need)
