"""What we remember of slots that another program fills: which payload lies in which.

RAUC and SWUpdate know images, not our payloads.  So whoever has one install a payload writes down
what the slot looked like afterwards; what is remembered counts as long as it still looks so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bordnetz.edge import durable
from bordnetz.ota.installers.installer import Installed
from bordnetz.ota.installers.trouble import TroubleError

_LIMIT = 1 << 16

_Text = Annotated[str, StringConstraints(max_length=512)]
_Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Content(_Model):
    """A payload in a slot, and by what it is told that it is still there.

    Attributes:
        name: Of the payload.
        length: Of the payload.
        sha256: Of the payload.
        counter: Of the payload.
        look: What the other program said of the slot, when the payload was in it.
    """

    name: _Text
    length: _Count
    sha256: _Text
    counter: _Count
    look: _Text

    @classmethod
    def of(cls, payload: Installed, look: str) -> Self:
        """A payload that has just been installed."""
        return cls(
            name=payload.name,
            length=payload.length,
            sha256=payload.sha256,
            counter=payload.counter,
            look=look,
        )

    @property
    def installed(self) -> Installed:
        """The payload."""
        return Installed(self.name, self.length, self.sha256, self.counter)


class Begun(_Model):
    """The attempt under way.

    Attributes:
        attempt: Its id.
        old: The slot that ran when it began.
        new: The slot that it fills.
        look: What the other program said of that one before.
        before: What was in that one before.
        installed: Whether the new payload is in it, all of it.
    """

    attempt: _Text
    old: _Text
    new: _Text
    look: _Text
    before: Content | None = None
    installed: bool = False


class Record(_Model):
    """The file.

    Attributes:
        slots: What is in each slot, as far as it is known.
        begun: The attempt under way, if there is one.
    """

    slots: Mapping[Annotated[str, StringConstraints(max_length=256)], Content] = {}
    begun: Begun | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it; an empty one where there is no file.

        Raises:
            DurableError: It cannot be read.
            TroubleError: It is not what was written.
        """
        data = durable.read(path, _LIMIT)
        if data is None:
            return cls()
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise TroubleError(
                f"{path}: damaged{f' at {where}' if where else ''}; remove it: what is in the "
                "slots then counts as unknown, and an attempt under way must be undone by hand"
            ) from error

    def save(self, path: Path) -> None:
        """Write it; it is on the disk when this returns.

        Raises:
            DurableError: The disk does not take it.
        """
        durable.write(path, self.model_dump_json().encode())

    def begin(self, begun: Begun) -> Self:
        """An attempt begins: what it is going to overwrite is not there any more."""
        slots = {name: content for name, content in self.slots.items() if name != begun.new}
        return self.model_copy(update={"slots": slots, "begun": begun})

    def end(self, content: Content) -> Self:
        """The attempt has its payload in the new slot."""
        assert self.begun is not None  # noqa: S101 for the type checker
        return self.model_copy(
            update={
                "slots": {**self.slots, self.begun.new: content},
                "begun": self.begun.model_copy(update={"installed": True}),
            }
        )

    def restore(self) -> Self:
        """The attempt has not touched the new slot: in it is what was there before."""
        assert self.begun is not None  # noqa: S101 for the type checker
        if self.begun.before is None:
            return self
        return self.model_copy(update={"slots": {**self.slots, self.begun.new: self.begun.before}})

    def forget(self) -> Self:
        """The attempt is over."""
        return self.model_copy(update={"begun": None})

    def content(self, slot: str, look: str) -> Content | None:
        """What is in a slot that looks so; None where that is not known."""
        content = self.slots.get(slot)
        return content if content is not None and content.look == look else None
