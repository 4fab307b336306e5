"""Vehicles: what the release tool must know of each, and how it learns it.

A vehicle comes as one line, of a CSV file or of JSON lines:

    vehicle,primary,public_key,ecus,tags
    car-1,head-unit,6f…(64 hex digits),head-unit:hu-2026:SN123;dbc:dbc-ev1,pilot;berlin

    {"vehicle": "car-1", "primary": "head-unit", "publicKey": "6f…", "ecus":
     [{"id": "head-unit", "hardwareId": "hu-2026", "serial": "SN123"}], "tags": ["pilot"]}
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from bordnetz.release.database import DUE_TARGETS
from bordnetz.release.errors import ReleaseError
from bordnetz.release.progress import Progress, silent
from bordnetz.release.release import Release
from bordnetz.uptane.custom import Model, Name
from bordnetz.uptane.keys import SigningKeyError, public_key

COLUMNS = ("vehicle", "primary", "public_key", "ecus", "tags")
_LONGEST_LINE = 64 * 1024
_MOST_PROBLEMS = 20


class Ecu(Model):
    """An ECU of a vehicle.

    Attributes:
        id: In metadata and manifests.
        hardware_id: What runs on it.
        serial: For people; "": not known.
    """

    id: Name
    hardware_id: Name
    serial: Annotated[str, Field(max_length=128)] = ""


class Vehicle(Model):
    """A vehicle.

    Attributes:
        vehicle: Its id.
        primary: Id of the ECU that signs its manifests.
        public_key: Of that ECU: see `bordnetz.uptane.keys.public_key`.
        ecus: All that can be updated.
        tags: Words to assign by.
    """

    vehicle: Name
    primary: Name
    public_key: Annotated[str, Field(max_length=16384)]
    ecus: Annotated[list[Ecu], Field(min_length=1, max_length=256)]
    tags: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)

    @field_validator("public_key", mode="before")
    @classmethod
    def _may_be_an_object(cls, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _names_each_ecu_once(self) -> Self:
        ids = [ecu.id for ecu in self.ecus]
        if len(set(ids)) != len(ids):
            raise ValueError("ecus: an id stands twice")
        if self.primary not in ids:
            raise ValueError(f"primary: {self.primary!r} is none of the ECUs")
        return self


@dataclass(frozen=True)
class Row:
    """A vehicle as the database keeps it."""

    name: str
    primary: str
    key: str
    ecus: str
    serials: str
    tags: tuple[str, ...]

    @classmethod
    def of(cls, vehicle: Vehicle) -> Row:
        """Check its key and bring it into shape.

        Raises:
            SigningKeyError: The public key is none.
        """
        key = public_key(vehicle.public_key)
        return cls(
            vehicle.vehicle,
            vehicle.primary,
            _compact(key.to_dict()),
            _compact({ecu.id: ecu.hardware_id for ecu in vehicle.ecus}),
            _compact({ecu.id: ecu.serial for ecu in vehicle.ecus if ecu.serial}),
            tuple(sorted(set(vehicle.tags))),
        )


def parse_ecu(text: str) -> Ecu:
    """From ``id:hardware id[:serial]``.

    Raises:
        ValueError: It is of another form.
    """
    parts = text.strip().split(":", 2)
    if len(parts) < 2:
        raise ValueError(f"ecus: {text.strip()[:80]!r} is not ID:HARDWARE or ID:HARDWARE:SERIAL")
    return Ecu(id=parts[0], hardware_id=parts[1], serial=parts[2] if len(parts) > 2 else "")


def read_file(path: Path) -> Iterator[tuple[int, Row]]:
    """The vehicles of a CSV file (``*.csv``) or of JSON lines (any other name).

    Yields:
        Number of the line and vehicle.

    Raises:
        ReleaseError: The file cannot be read, or lines of it cannot be used; the text names the
            first of them with their numbers.  It is raised at the end: until then nothing that
            was yielded may be kept.
    """
    problems: list[str] = []
    more = 0
    read = _from_csv if path.suffix.lower() == ".csv" else _from_json
    seen: dict[str, int] = {}
    for number, found in read(path):
        if isinstance(found, Row):
            first = seen.setdefault(found.name, number)
            if first == number:
                yield number, found
                continue
            found = f"vehicle {found.name} stands in line {first} already"
        if len(problems) < _MOST_PROBLEMS:
            problems.append(f"{path}: line {number}: {found}")
        else:
            more += 1
    if problems:
        if more:
            problems.append(f"{path}: ... and {more} more lines")
        raise ReleaseError("\n".join([*problems, f"{path}: nothing was imported"]))


def _from_csv(path: Path) -> Iterator[tuple[int, Row | str]]:
    header: list[str] | None = None
    for number, line in _lines(path):
        if line is None:
            yield number, f"over {_LONGEST_LINE} bytes, or no UTF-8"
            continue
        try:
            fields = next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            yield number, f"no valid CSV: {error}"
            continue
        if header is None:
            header = [field.strip().lower() for field in fields]
            if sorted(header) != sorted(COLUMNS):
                raise ReleaseError(
                    f"{path}: line 1 must name the columns {','.join(COLUMNS)}, in any order"
                )
            continue
        if not fields:
            continue
        if len(fields) != len(header):
            yield number, f"{len(fields)} fields, not {len(header)}"
            continue
        found = dict(zip(header, fields, strict=True))
        try:
            yield (
                number,
                Row.of(
                    Vehicle(
                        vehicle=found["vehicle"].strip(),
                        primary=found["primary"].strip(),
                        public_key=found["public_key"],
                        ecus=[parse_ecu(text) for text in _split(found["ecus"])],
                        tags=_split(found["tags"]),
                    )
                ),
            )
        except (ValueError, SigningKeyError) as error:
            yield number, _said(error)


def _from_json(path: Path) -> Iterator[tuple[int, Row | str]]:
    for number, line in _lines(path):
        if line is None:
            yield number, f"over {_LONGEST_LINE} bytes, or no UTF-8"
            continue
        if not line.strip():
            continue
        try:
            yield number, Row.of(Vehicle.model_validate(json.loads(line)))
        except RecursionError:
            yield number, "nested too deeply"
        except (ValueError, SigningKeyError) as error:
            yield number, _said(error)


def _lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """The lines, with their numbers; None for one that is too long or no text."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(_LONGEST_LINE)
                    yield number, None
                    continue
                try:
                    yield (
                        number,
                        line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"),
                    )
                except UnicodeDecodeError:
                    yield number, None
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read: {error.strerror}") from error


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _said(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in detail["loc"])
        text = detail["msg"].removeprefix("Value error, ")
        return f"{place}: {text}" if place else text
    if isinstance(error, json.JSONDecodeError):
        return f"no valid JSON: {error.msg} at column {error.colno}"
    return str(error)


def _compact(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Stored:
    """How many vehicles are new, and how many replaced what was known of them."""

    added: int
    replaced: int


def store(
    release: Release,
    rows: Iterable[tuple[int, Row]],
    *,
    replace: bool = False,
    progress: Progress = silent,
) -> Stored:
    """Put vehicles into the database, all or none.

    Args:
        release: The release.
        rows: Line (0: none) and vehicle; whatever it raises undoes all.
        replace: Whether a vehicle that is there already gets new ECUs, key and tags; what is
            assigned to it stays.
        progress: Is told how far it is.

    Raises:
        ReleaseError: A vehicle is there already.
    """
    added = replaced = 0
    known: list[str] = []
    with release.transaction() as db:
        models: dict[str, int] = {}
        for done, (line, row) in enumerate(rows):
            if done % 1000 == 0:
                progress("vehicles read", done, 0)
            model = models.get(row.ecus)
            if model is None:
                model = models[row.ecus] = _model(db, row.ecus)
            values = (model, row.primary, row.key, row.serials)
            found = db.execute("SELECT id FROM vehicle WHERE name = ?", (row.name,)).fetchone()
            if found is None:
                cursor = db.execute(
                    "INSERT INTO vehicle (model, primary_ecu, key, serials, name) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (*values, row.name),
                )
                vehicle = cursor.lastrowid
                added += 1
            elif replace:
                vehicle = found[0]
                db.execute(
                    "UPDATE vehicle SET model = ?, primary_ecu = ?, key = ?, serials = ?, "
                    "due = ? WHERE id = ?",
                    (*values, DUE_TARGETS, vehicle),
                )
                db.execute("DELETE FROM tag WHERE vehicle = ?", (vehicle,))
                replaced += 1
            else:
                known.append(f"vehicle {row.name}" + (f" (line {line})" if line else ""))
                continue
            if row.tags:
                db.executemany(
                    "INSERT INTO tag VALUES (?, ?)", [(tag, vehicle) for tag in row.tags]
                )
        if known:
            shown = ", ".join(known[:_MOST_PROBLEMS])
            more = f" and {len(known) - _MOST_PROBLEMS} more" if len(known) > _MOST_PROBLEMS else ""
            raise ReleaseError(
                f"there already: {shown}{more}; nothing was stored. To replace what is known of "
                "them: --replace"
            )
    return Stored(added, replaced)


def _model(db: sqlite3.Connection, ecus: str) -> int:
    db.execute("INSERT OR IGNORE INTO model (ecus) VALUES (?)", (ecus,))
    identity: int = db.execute("SELECT id FROM model WHERE ecus = ?", (ecus,)).fetchone()[0]
    return identity
