"""What a condition sees of a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bordnetz.laptop.routes.functions import UNDEFINED, Value


class Message:
    """What a condition can see of a message; the body is parsed when it is asked for."""

    def __init__(
        self, properties: Mapping[str, str], system: Mapping[str, str], body: bytes
    ) -> None:
        self._properties = {name.lower(): value for name, value in properties.items()}
        self._system = {name.lower(): value for name, value in system.items()}
        self._body = body

    def property(self, name: str) -> Value:
        """A user property, whatever the case of its name."""
        return self._properties.get(name.lower(), UNDEFINED)

    def system(self, name: str) -> Value:
        """A system property such as contentType, whatever the case of its name."""
        return self._system.get(name.lower(), UNDEFINED)

    def at(self, path: tuple[str | int, ...]) -> Value:
        """The value at a path into the body; null where the body has nothing there.

        Undefined for a branch of the tree, and where the body is not a JSON object in the
        content type and encoding that the system properties tell.
        """
        if self._tree is None:
            return UNDEFINED
        node: Any = self._tree
        for step in path:
            if isinstance(step, str):
                node = node.get(step) if isinstance(node, dict) else None
            else:
                node = node[step] if isinstance(node, list) and step < len(node) else None
        return node if node is None or isinstance(node, str | float | bool) else UNDEFINED

    @cached_property
    def _tree(self) -> dict[str, Any] | None:
        kind = str(self.system("contentType")).lower()
        encoding = str(self.system("contentEncoding")).lower()
        if kind != "application/json" or encoding not in ("utf-8", "utf-16", "utf-32"):
            return None
        try:
            tree = json.loads(self._body.decode(encoding), parse_int=float)
        except (ValueError, RecursionError):
            return None
        return tree if isinstance(tree, dict) else None
