"""Desired properties into a module's configuration, and the answer to whoever set them.

Rules:

1. A bad value costs the smallest part that stands alone: a field, or the entry of a list; of a
   list marked `WHOLE`, a malformed entry costs all of it.
2. In the place of what was refused stays what was accepted there before (list entries are told
   apart by their first field); where nothing was, nothing is.
3. Every property gets its acknowledgement in the form of IoT Plug and Play: the ``value`` in
   effect, ``ac`` 200 or 400, ``av`` the version of the desired properties that is answered, and
   ``ad`` which names field and reason of what was refused.
4. What the model does not know is refused with the names that it knows.
5. A property marked `PRIVATE` is answered without what its URLs carry behind the "?": a shared
   access signature stays between the hub and us.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bordnetz.edge.thread import in_thread

log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

Path = tuple[str | int, ...]

OK, REFUSED = 200, 400

WHOLE = "whole"
"""In the annotation of a list whose entries do not stand alone, such as rules of which the first
that matches decides: without one of them, what it was to decide falls to another."""

PRIVATE = "private"
"""In the annotation of a property with URLs that carry access rights in their query."""

DEEPEST = 16
"""Levels of a desired section that are looked at: IoT Hub has 10, no model more."""

_UNKNOWN_SHOWN = 10
_REASONS_SHOWN = 3
_REASON = 500
ROOM = 20_000
"""Bytes for all acknowledgements; the reported section holds 32 KB in all (IoT Hub)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of the configuration that makes no sense here.

    Attributes:
        path: Property, then index or field, as ``("collect", 2)``.
        reason: In words, without the value.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Judgement(Generic[M]):
    """What became of desired properties."""

    version: int
    config: M
    accepted: dict[str, Any]
    acknowledgements: dict[str, Any]


class Twin(Generic[M]):
    """The configuration of a module, as its desired properties say.

    What comes is kept by `replace` and `patch`, and judged by `judge` or `judging`.

    Attributes:
        config: In effect now.
        version: ``$version`` of the desired properties that it answers; 0 before the first.
        acknowledgements: By property; in the reported properties they answer the desired ones.
    """

    def __init__(
        self, model: type[M], check: Callable[[M], Iterable[Refusal]] | None = None
    ) -> None:
        """Start with the model's defaults.

        Args:
            model: Every field has a default; JSON names are the fields' aliases.
            check: Finds what is well-formed, but makes no sense in this vehicle; an entry that
                it names is refused alone, of a list marked `WHOLE` too.  `judging` calls it on
                another thread.
        """
        self.config = model()
        self.version = 0
        self.acknowledgements: dict[str, Any] = {}
        self._desired: dict[str, Any] = {}
        self._model = model
        self._check = check
        self._known = {field.alias or name for name, field in model.model_fields.items()}
        self._identities = _identities(model)
        self._whole = {
            field.alias or name
            for name, field in model.model_fields.items()
            if WHOLE in field.metadata
        }
        self._private = {
            field.alias or name
            for name, field in model.model_fields.items()
            if PRIVATE in field.metadata
        }
        self._accepted: dict[str, Any] = {}
        self._doubted = False
        self._changed = asyncio.Event()
        self._unjudged = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def accepted(self) -> dict[str, Any]:
        """Desired properties that, seen by a new twin, have its config at this one's."""
        return {**self._accepted, "$version": self.version}

    async def changes(self) -> AsyncIterator[M]:
        """The configuration now, and again whenever it has changed; the latest one counts."""
        while True:
            config, changed = self.config, self._changed
            yield config
            while config is self.config:
                await changed.wait()
                changed = self._changed

    def replace(self, desired: Mapping[str, Any]) -> None:
        """Take the whole desired section."""
        shallow = _cut(desired, DEEPEST)
        if shallow != self._desired:
            self._see(shallow)

    def patch(self, patch: Mapping[str, Any]) -> bool:
        """Take a change; False if it is not the one that follows what we have."""
        seen, version = _version(self._desired), _version(patch)
        if version == seen and seen:
            return True
        if version != seen + 1 or not seen:
            return False
        self._see(merged(self._desired, _cut(patch, DEEPEST)))
        return True

    def recheck(self) -> None:
        """Judge the desired properties again, after something that ``check`` looks at changed.

        What was accepted before is judged, too: of it only stays what still makes sense.
        """
        self._doubted = True
        self._see(self._desired)

    def judge(self) -> None:
        """Judge what was seen last, now."""
        self._unjudged.clear()
        doubted, self._doubted = self._doubted, False
        self._conclude(self._judged(self._desired, doubted))
        self._settled.set()

    async def judging(self) -> AsyncIterator[Mapping[str, Any]]:
        """Judge what comes, for ever, apart from the event loop; gives the acknowledgements.

        Judging takes seconds where the vehicle has tens of thousands of signals.
        """
        while True:
            await self._unjudged.wait()
            self._unjudged.clear()
            doubted, self._doubted = self._doubted, False
            try:
                self._conclude(await in_thread(partial(self._judged, self._desired, doubted)))
            except Exception:
                log.exception("desired properties cannot be judged, those before them stay")
            yield self.acknowledgements
            if not self._unjudged.is_set():
                self._settled.set()

    async def settled(self) -> None:
        """Wait until everything that was seen is judged, and its acknowledgements taken."""
        await self._settled.wait()

    def _see(self, desired: dict[str, Any]) -> None:
        self._desired = desired
        self._settled.clear()
        self._unjudged.set()

    def _conclude(self, judgement: _Judgement[M]) -> None:
        self.acknowledgements = judgement.acknowledgements
        self.version = judgement.version
        self._accepted = judgement.accepted
        if judgement.config != self.config:
            self.config = judgement.config
            self._changed.set()
            self._changed = asyncio.Event()

    def _judged(self, desired: dict[str, Any], doubted: bool) -> _Judgement[M]:
        version = _version(desired)
        properties = {k: v for k, v in desired.items() if not k.startswith("$")}
        unknown = sorted(properties.keys() - self._known)
        wanted = {name: value for name, value in properties.items() if name in self._known}
        before = self._accept(self._accepted, {})[1] if doubted else self._accepted
        config, accepted, reasons = self._accept(wanted, before)
        acknowledgements: dict[str, Any] = {}
        for name in wanted:
            said = "; ".join(reasons.get(name, ())[:_REASONS_SHOWN])
            if len(reasons.get(name, ())) > _REASONS_SHOWN:
                said += f"; and {len(reasons[name]) - _REASONS_SHOWN} more"
            value = accepted.get(name)
            acknowledgements[name] = {
                "value": without_queries(value) if name in self._private else value,
                "ac": REFUSED if said else OK,
                "av": version,
                "ad": said[:_REASON] or "accepted",
            }
        for name in unknown[:_UNKNOWN_SHOWN]:
            known = ", ".join(sorted(self._known)) or "none"
            reason = f"unknown property; this module knows: {known}"
            acknowledgements[name] = {"ac": REFUSED, "av": version, "ad": reason[:_REASON]}
        return _Judgement(version, config, accepted, _fitted(acknowledgements))

    def _accept(
        self, wanted: dict[str, Any], accepted: dict[str, Any]
    ) -> tuple[M, dict[str, Any], dict[str, list[str]]]:
        """Find what can be accepted: first without the bad parts, then without bad properties.

        What is malformed comes first, for `check` looks at whole configurations alone.
        """
        reasons: dict[str, list[str]] = {}

        def without(refusals: list[Refusal], cut: Callable[[Path], Path]) -> dict[str, Any]:
            parts: dict[Path, None] = {}
            for refusal in refusals:
                for name in [refusal.path[0]] if refusal.path else wanted:
                    said = _words(refusal)
                    if said not in reasons.setdefault(str(name), []):
                        reasons[str(name)].append(said)
                parts[cut(refusal.path)] = None
            return self._without(document, parts, accepted)

        document = copy.deepcopy(wanted)
        document = without(self._malformed(document), self._standing_alone)
        for cut in (_smallest, _property, _everything):
            refusals = self._malformed(document) or self._senseless(document)
            if not refusals:
                break
            document = without(refusals, cut)
        return self._model.model_validate(document), document, reasons

    def _malformed(self, document: dict[str, Any]) -> list[Refusal]:
        try:
            self._model.model_validate(document)
        except ValidationError as error:
            return [_refusal(found) for found in error.errors(include_url=False)]
        return []

    def _senseless(self, document: dict[str, Any]) -> list[Refusal]:
        config = self._model.model_validate(document)
        return list(self._check(config)) if self._check is not None else []

    def _standing_alone(self, path: Path) -> Path:
        return _property(path) if path[:1] and path[0] in self._whole else _smallest(path)

    def _without(
        self, document: dict[str, Any], parts: Iterable[Path], accepted: dict[str, Any]
    ) -> dict[str, Any]:
        """Put in the place of each part what was accepted there before, or nothing."""
        result = copy.deepcopy(document)
        # From the back, for taking out an entry moves those behind it.
        for part in sorted(parts, key=_order, reverse=True):
            if not part:
                return copy.deepcopy(accepted)
            place: Any = result
            before: Any = accepted
            for step in part[:-1]:
                place = _at(place, step)
                before = _at(before, step)
            step = part[-1]
            if isinstance(place, list) and isinstance(step, int) and step < len(place):
                old = _namesake(before, place[step], self._identities.get(str(part[0]), ""))
                place[step : step + 1] = [] if old is None else [copy.deepcopy(old)]
            elif isinstance(place, dict):
                old = _at(before, step)
                place.pop(str(step), None)
                if old is not None:
                    place[str(step)] = copy.deepcopy(old)
        return result


def _cut(value: Any, levels: int) -> Any:
    """The value without what lies deeper, for a few hundred levels end what looks at them."""
    if isinstance(value, Mapping):
        return {name: _cut(one, levels - 1) for name, one in value.items()} if levels else None
    if isinstance(value, list):
        return [_cut(one, levels - 1) for one in value] if levels else None
    return value


def _version(document: Mapping[str, Any]) -> int:
    """The ``$version`` of a desired section; 0 for what is no number."""
    version = document.get("$version", 0)
    return version if isinstance(version, int) else 0


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a twin patch applied: objects merge, null removes (RFC 7386)."""
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            old = result.get(name)
            result[name] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def without_queries(value: Any) -> Any:
    """The value with every text in it cut off at its first "?"."""
    if isinstance(value, str):
        return value.partition("?")[0]
    if isinstance(value, Mapping):
        return {name: without_queries(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_queries(part) for part in value]
    return value


def _smallest(path: Path) -> Path:
    """Down to the field, but not into the entry of a list."""
    for depth, step in enumerate(path):
        if isinstance(step, int):
            return path[: depth + 1]
    return path


def _property(path: Path) -> Path:
    return path[:1]


def _everything(path: Path) -> Path:
    del path
    return ()


def _refusal(error: ErrorDetails) -> Refusal:
    return Refusal(error["loc"], error["msg"])


def _words(refusal: Refusal) -> str:
    where = ""
    for step in refusal.path:
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else step
    return f"{where}: {refusal.reason}" if where else refusal.reason


def _order(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((step, "") if isinstance(step, int) else (0, step) for step in path)


def _at(place: Any, step: str | int) -> Any:
    if isinstance(place, Mapping):
        return place.get(str(step))
    if isinstance(place, list) and isinstance(step, int) and step < len(place):
        return place[step]
    return None


def _identities(model: type[BaseModel]) -> dict[str, str]:
    """The first field of the entries of every property that is a list of objects."""
    found = {}
    for name, field in model.model_fields.items():
        for entry in get_args(field.annotation):
            if isinstance(entry, type) and issubclass(entry, BaseModel) and entry.model_fields:
                first, details = next(iter(entry.model_fields.items()))
                found[field.alias or name] = details.alias or first
    return found


def _namesake(entries: Any, entry: Any, identity: str) -> Any:
    """The entry that was accepted before and has the same value in its first field."""
    if not isinstance(entries, list) or not isinstance(entry, Mapping) or identity not in entry:
        return None
    same = (old for old in entries if isinstance(old, Mapping) and identity in old)
    return next((old for old in same if old[identity] == entry[identity]), None)


def _fitted(acknowledgements: dict[str, Any]) -> dict[str, Any]:
    """Leave out the largest values until the rest fits into the reported section."""
    result = {name: dict(one) for name, one in acknowledgements.items()}
    while json_size(result) > ROOM:
        name = max(result, key=lambda name: json_size(result[name].get("value")))
        if result[name].pop("value", None) is None:
            break
        result[name]["ad"] = f"{result[name]['ad']}; the value is too large to be repeated here"
    return result


def json_size(value: Any) -> int:
    """Bytes of a value as JSON; it may have surrogates that no UTF-8 has."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="surrogatepass"))
