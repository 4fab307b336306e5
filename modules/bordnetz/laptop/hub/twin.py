"""Module twins: desired and reported properties with IoT Hub's limits, kept in the hub's store."""

from __future__ import annotations

from typing import Any

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.store import Store
from bordnetz.laptop.manifest.limits import check_section

Json = dict[str, Any]

_MAX_SHOWN = 5


class TwinError(BordnetzError):
    """Properties that IoT Hub would refuse; the text names each place and limit."""


def merge(section: Json, patch: Json) -> Json:
    """The section after a patch: objects merge, null removes, everything else replaces."""
    merged = dict(section)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


class Twins:
    """The twins of all modules."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._twins: dict[str, Json] = {}

    def deploy(self, module: str, desired: Json) -> None:
        """Takes the manifest's desired properties, unless just these were deployed last time.

        As in the cloud, a new deployment replaces the desired properties; what was set after an
        unchanged one stays.

        Raises:
            TwinError: The manifest's properties are out of the limits.
        """
        section = _patched({}, desired, "desired")
        twin = self._store.twin(module)
        if twin is None:
            twin = {"desired_version": 0, "reported": {}, "reported_version": 1, "deployed": None}
        if twin["deployed"] != desired:
            version = twin["desired_version"] + 1
            twin |= {"desired": section, "desired_version": version, "deployed": desired}
        self._keep(module, twin)

    def document(self, module: str) -> Json:
        """The twin as a module gets it: both sections, each with its ``$version``."""
        twin = self._twins[module]
        return {
            name: {**twin[name], "$version": twin[f"{name}_version"]}
            for name in ("desired", "reported")
        }

    def patch(self, module: str, section: str, patch: Any) -> int:
        """Merges a patch into "desired" or "reported".

        Args:
            module: Whose twin.
            section: Which part of it.
            patch: A JSON object; null removes a key.

        Returns:
            The section's new version.

        Raises:
            TwinError: Not an object, or the section with it is out of the limits; nothing changed.
        """
        twin = dict(self._twins[module])
        twin[section] = _patched(twin[section], patch, section)
        twin[f"{section}_version"] += 1
        self._keep(module, twin)
        return int(twin[f"{section}_version"])

    def _keep(self, module: str, twin: Json) -> None:
        self._store.keep_twin(module, twin)
        self._twins[module] = twin


def _patched(section: Json, patch: Any, name: str) -> Json:
    if not isinstance(patch, dict):
        raise TwinError(f"{name} properties have to be a JSON object")
    try:
        merged = merge(section, patch)
        problems = [str(problem) for problem in check_section(merged, name)]
    except RecursionError:
        raise TwinError(f"{name} properties are nested too deeply") from None
    if problems:
        more = [f"and {len(problems) - _MAX_SHOWN} more"] if len(problems) > _MAX_SHOWN else []
        raise TwinError("; ".join(problems[:_MAX_SHOWN] + more))
    return merged
