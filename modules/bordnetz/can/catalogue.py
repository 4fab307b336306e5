"""The catalogue: what every DBC file of a vehicle says, bound to the buses that it speaks of."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bordnetz.can.dbc import Message, parse, read, show_id
from bordnetz.can.errors import CatalogueError
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES
from bordnetz.can.j1939 import Match, parameter_group
from bordnetz.can.problem import Problem
from bordnetz.can.transport import fast as fast_transport
from bordnetz.can.transport import isotp as isotp_transport
from bordnetz.can.transport import j1939 as j1939_transport
from bordnetz.can.transport.fast import in_range, is_fast
from bordnetz.can.vehicle import Bus, IsoTp, Vehicle
from bordnetz.series import EXTENDED

__all__ = ["Catalogue", "CatalogueError", "Problem"]


Parse = Callable[[bytes, Path], tuple[list[Message], list[Problem]]]
"""From a DBC file's bytes and name to what is in it, as `bordnetz.can.dbc.parse`."""


@dataclass(frozen=True)
class Catalogue:
    """All messages of a vehicle.

    Attributes:
        buses: Names of the buses, in the order of the vehicle file.
        messages: For each bus its messages, in the order of the files; names, ids and, where
            they are matched by it, parameter group numbers are unique.
        problems: What is not used, or not as its DBC file writes it.
        digest: SHA-256, 32 bytes, over names of buses, contents of their DBC files, ids of ISO-TP
            and who speaks NMEA 2000: equal for equal meaning, wherever the files lie and whatever
            they are called.
        isotp: For each bus, which ids carry ISO-TP.
        nmea2000: For each bus, whether it speaks NMEA 2000.
    """

    buses: tuple[str, ...]
    messages: tuple[tuple[Message, ...], ...]
    problems: tuple[Problem, ...]
    digest: bytes
    isotp: tuple[tuple[IsoTp, ...], ...]
    nmea2000: tuple[bool, ...]

    @classmethod
    def load(cls, vehicle: Vehicle, parse: Parse = parse) -> Catalogue:
        """Load the DBC files of every bus.

        Args:
            vehicle: Names them.
            parse: Parses a file; that of a `bordnetz.can.cache.Cache` need not every time.

        Raises:
            CatalogueError: A file is missing or cannot be parsed, or two messages of one bus
                claim the same arbitration id.
        """
        digest = hashlib.sha256()
        parsed: dict[Path, tuple[list[Message], list[Problem]]] = {}
        problems: list[Problem] = []
        buses = []
        for bus in vehicle.buses:
            files = vehicle.databases(bus)
            digest.update(_part(bus.name.encode()))
            digest.update(len(files).to_bytes(8, "big"))
            for file in files:
                content = read(file)
                digest.update(_part(content))
                if file not in parsed:
                    parsed[file] = parse(content, file)
                    problems += parsed[file][1]
            messages = [message for file in files for message in parsed[file][0]]
            _refuse_shared_ids(bus.name, messages)
            messages, found = _separate_shared_names(messages)
            problems += found
            messages, found = _separate_shared_groups(messages)
            problems += found
            messages, found = _within_reach(messages, bus)
            problems += found
            if not bus.nmea2000:
                problems += _undeclared_fast_packets(messages)
            for conversation in bus.isotp:
                digest.update(_part(conversation.model_dump_json().encode()))
            if bus.nmea2000:
                digest.update(_part(b"[nmea2000]"))  # no name of a bus
            buses.append(tuple(messages))
        return cls(
            buses=tuple(bus.name for bus in vehicle.buses),
            messages=tuple(buses),
            problems=tuple(problems),
            digest=digest.digest(),
            isotp=tuple(bus.isotp for bus in vehicle.buses),
            nmea2000=tuple(bus.nmea2000 for bus in vehicle.buses),
        )

    @cached_property
    def lost(self) -> tuple[Problem, ...]:
        """The problems that cost something."""
        return tuple(problem for problem in self.problems if not problem.mended)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The qualified names, ``bus.message.signal``, of all signals that can be read."""
        return tuple(
            f"{bus}.{message.name}.{field.signal.name}"
            for bus, messages in zip(self.buses, self.messages, strict=True)
            for message in messages
            for field in message.fields
        )


def _part(content: bytes) -> bytes:
    # With its length, so that no other division into parts has the same digest.
    return len(content).to_bytes(8, "big") + content


def _refuse_shared_ids(bus: str, messages: Sequence[Message]) -> None:
    first: dict[int, Message] = {}
    for message in messages:
        other = first.setdefault(message.id, message)
        if other is not message:
            raise CatalogueError(
                f"bus '{bus}': {other} and {message} claim one id; take one of them out of its "
                "file, or bind the files to different buses"
            )


def _separate_shared_names(messages: list[Message]) -> tuple[list[Message], list[Problem]]:
    """Tell messages of one name apart by their ids: all of them, whichever file comes first."""
    shared = {name for name, count in Counter(m.name for m in messages).items() if count > 1}
    renamed = {m.id: f"{m.name}@{show_id(m.id)[2:]}" for m in messages if m.name in shared}
    problems = [
        Problem(
            m.file,
            m.name,
            "",
            f"its name is there twice; it is called '{renamed[m.id]}'",
            line=m.line,
            mended=True,
        )
        for m in messages
        if m.id in renamed
    ]
    return [replace(m, name=renamed.get(m.id, m.name)) for m in messages], problems


def _separate_shared_groups(messages: list[Message]) -> tuple[list[Message], list[Problem]]:
    """Match J1939 messages of one parameter group by their addresses, too.

    Databases do so to give the messages of each source or destination address their own layout.
    """
    problems = []
    for match, closer, reason in (
        (Match.PGN, Match.ADDRESSES, "shares its PGN with others; it is matched by its addresses"),
        (Match.ADDRESSES, Match.ID, "shares PGN and addresses; it is matched by its whole id"),
    ):
        keys = match.key(np.array([m.id for m in messages], np.uint32)).tolist()
        count = Counter(key for m, key in zip(messages, keys, strict=True) if m.match is match)
        shared = {
            m.id
            for m, key in zip(messages, keys, strict=True)
            if m.match is match and count[key] > 1
        }
        problems += [
            Problem(m.file, m.name, "", reason, line=m.line, mended=True)
            for m in messages
            if m.id in shared
        ]
        messages = [replace(m, match=closer) if m.id in shared else m for m in messages]
    return messages, problems


def _within_reach(messages: list[Message], bus: Bus) -> tuple[list[Message], list[Problem]]:
    """Leave out signals where no frame, and no message of many frames, can reach.

    Args:
        messages: Of one bus.
        bus: This one.
    """
    isotp = {one for pair in bus.isotp for one in pair.ids}
    problems = []
    kept = []
    for message in messages:
        if message.id in isotp:
            reach, why = isotp_transport.LONGEST + 1, "where no message of ISO-TP reaches"
        elif message.match is not Match.ID:
            reach, why = j1939_transport.LONGEST, "where no message of J1939 reaches"
        elif bus.nmea2000 and message.id & EXTENDED and is_fast(_group(message), message.length):
            reach, why = fast_transport.LONGEST, "where no fast packet reaches"
        else:
            reach = FD_BYTES
            why = "where no frame reaches; if it is ISO-TP, name its id under 'isotp' of the bus"
        far = [field.signal.name for field in message.fields if field.need > reach]
        reasons = dict.fromkeys(far, f"lies beyond byte {reach}, {why}; it is left out")
        for field in message.fields:
            for selector, _ in field.branch:
                if selector in far:
                    reason = f"its multiplexer '{selector}' cannot be read; it is left out"
                    reasons.setdefault(field.signal.name, reason)
        problems += [
            Problem(message.file, message.name, *item, line=message.line)
            for item in reasons.items()
        ]
        near = tuple(field for field in message.fields if field.signal.name not in reasons)
        kept.append(replace(message, fields=near) if reasons else message)
    return kept, problems


def _undeclared_fast_packets(messages: Sequence[Message]) -> list[Problem]:
    """Messages of a bus that is not said to speak NMEA 2000, and probably does."""
    return [
        Problem(
            message.file,
            message.name,
            "",
            f"has {message.length} bytes and a parameter group of NMEA 2000; if its frames are "
            "fast packets, say 'nmea2000 = true' of the bus in the vehicle file, or what is read "
            "of them makes no sense",
            line=message.line,
        )
        for message in messages
        if message.match is not Match.ID
        and message.length > CLASSIC_BYTES
        and in_range(_group(message))
    ]


def _group(message: Message) -> int:
    return int(parameter_group(np.array([message.id], np.uint32))[0])
