"""One route: which messages it takes, and where to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bordnetz.laptop.routes.condition import parse_condition
from bordnetz.laptop.routes.message import Message
from bordnetz.laptop.routes.tokens import Cursor, Lexeme, Token

DEFAULT_PRIORITY = 2_000_000_000
"""The priority of a route that names none: below the 0 (highest) to 9 that one can name."""

_FORMS = (
    "/*, /messages/*, /messages/modules/*, /messages/modules/MODULE/*, "
    "/messages/modules/MODULE/outputs/*, /messages/modules/MODULE/outputs/OUTPUT or "
    "/twinChangeNotifications"
)


def _always(message: Message) -> bool:
    """The condition of a route without WHERE."""
    del message
    return True


@dataclass(frozen=True, slots=True)
class Route:
    """A route of Edge hub.

    Attributes:
        name: Its key in the desired properties of $edgeHub.
        source: The path after FROM, as written.
        condition: The text after WHERE; "true" where there is none.
        sink: (module, input), or None for $upstream.
        priority: 0 (first) to 9, or `DEFAULT_PRIORITY`.
        time_to_live: Seconds a message may wait; None leaves it to the store's setting.
        source_module: The module that the source names, if it names one.
        source_output: Its output, if it names one.
    """

    name: str
    source: str
    condition: str
    sink: tuple[str, str] | None
    priority: int = DEFAULT_PRIORITY
    time_to_live: int | None = None
    source_module: str | None = None
    source_output: str | None = None
    _holds: Callable[[Message], bool] = field(default=_always, repr=False, compare=False)

    def matches(
        self,
        module: str,
        output: str,
        properties: Mapping[str, str],
        system: Mapping[str, str],
        body: bytes,
    ) -> bool:
        """Whether the route takes this message; pure, and never fails on a message.

        Args:
            module: The sending module; "" for a device behind this one.
            output: The output it was sent to; "" for none.
            properties: User properties.
            system: System properties under their long names (contentType, connectionModuleId).
            body: Looked at only by conditions on $body.
        """
        return self.covers(module, output) and self._holds(Message(properties, system, body))

    def covers(self, module: str, output: str) -> bool:
        """Whether messages of this output come past the source, whatever the condition says.

        The hub's rule: the source, less a last '*', begins the message's path.
        """
        path = "/messages/"
        if module:
            path += f"modules/{module}/" + (f"outputs/{output}/" if output else "")
        prefix = self.source.removesuffix("*").rstrip("/") + "/"
        return path.lower().startswith(prefix.lower())


def parse_route(
    name: str,
    text: str,
    priority: int = DEFAULT_PRIORITY,
    time_to_live: int | None = None,
) -> Route:
    """Read ``FROM source [WHERE condition] INTO sink``.

    Args:
        name: What to call it.
        text: The route.
        priority: 0 to 9, or `DEFAULT_PRIORITY`.
        time_to_live: In seconds; None or 0 for the store's.

    Raises:
        RouteError: Edge hub would refuse it, or it could never take a message.
    """
    cursor = Cursor(text)
    if cursor.accept("SELECT"):
        cursor.expect("*", "after SELECT")
    cursor.expect("FROM", "before the source")
    source, module, output = _source(cursor)
    condition = "true"
    holds: Callable[[Message], bool] = _always
    if cursor.accept("WHERE"):
        start = cursor.here.position
        holds = parse_condition(cursor)
        condition = text[start : cursor.here.position].strip()
    if not cursor.accept("INTO"):
        raise cursor.error(f"expected an operator, WHERE or INTO, found {cursor.here}")
    sink = _sink(cursor)
    cursor.end("the sink")
    return Route(
        name, source, condition, sink, priority, time_to_live or None, module, output, holds
    )


def select(
    routes: Iterable[Route],
    module: str,
    output: str,
    properties: Mapping[str, str],
    system: Mapping[str, str],
    body: bytes,
) -> list[Route]:
    """The routes a message goes: one a sink, the one with the lowest priority number.

    No route at all means that Edge hub drops the message (reason ``no_route``).
    """
    best: dict[tuple[str, str] | None, Route] = {}
    for route in routes:
        if not route.matches(module, output, properties, system, body):
            continue
        other = best.get(route.sink)
        if other is None or route.priority < other.priority:
            best[route.sink] = route
    return list(best.values())


_MESSAGES = ("messages", "modules", None, "outputs", None)
_SOURCES = (_MESSAGES, ("twinchangenotifications",))
"""What paths messages come under; None stands for any name."""


def _source(cursor: Cursor) -> tuple[str, str | None, str | None]:
    """The path after FROM, the module and the output it names."""
    parts: list[Lexeme] = []
    while cursor.accept("/"):
        part = cursor.accept("*") or cursor.take()
        if part.text != "*" and part.token is not Token.NAME:
            raise cursor.error(
                f"expected a name or '*' in the path, found {part}; "
                "keywords, numbers and names that begin with '$' cannot stand in a path",
                part.position,
            )
        parts.append(part)
    if not parts:
        raise cursor.error(f"expected a path after FROM: {_FORMS}")
    for part in parts[:-1]:
        if part.text == "*":
            raise cursor.error(
                "Edge hub takes a '*' inside a path for a name; it may only be the last part",
                part.position,
            )
    names = parts[:-1] if parts[-1].text == "*" else parts
    if not any(_along(names, form) for form in _SOURCES):
        raise cursor.error(f"no message comes from here; a source is {_FORMS}", parts[0].position)
    source = "/" + "/".join(part.text for part in parts)
    module = names[2].text if len(names) > 2 else None
    return source, module, names[4].text if len(names) > 4 else None


def _along(names: Sequence[Lexeme], form: Sequence[str | None]) -> bool:
    return len(names) <= len(form) and all(
        fixed is None or name.text.lower() == fixed
        for name, fixed in zip(names, form, strict=False)
    )


def _sink(cursor: Cursor) -> tuple[str, str] | None:
    """What stands after INTO."""
    lexeme = cursor.take()
    if lexeme.token is Token.SYSTEM and lexeme.text.lower() == "$upstream":
        return None
    if lexeme.token is not Token.NAME or lexeme.text.lower() != "brokeredendpoint":
        raise cursor.error(
            'a sink is $upstream or BrokeredEndpoint("/modules/MODULE/inputs/INPUT")',
            lexeme.position,
        )
    cursor.expect("(", "after BrokeredEndpoint")
    address = cursor.take()
    parts = address.text[1:-1].strip().removeprefix("/").removesuffix("/").split("/")
    if (
        address.token is not Token.STRING
        or len(parts) != 4
        or parts[0] != "modules"
        or parts[2] != "inputs"
        or not parts[1].strip()
        or not parts[3].strip()
    ):
        raise cursor.error(
            'BrokeredEndpoint takes "/modules/MODULE/inputs/INPUT" in quotes', address.position
        )
    cursor.expect(")", "after the address")
    return parts[1], parts[3]
