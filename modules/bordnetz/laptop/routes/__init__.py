"""The route language of Edge hub, as its grammar and its types have it.

In the order a route is read: `tokens` cuts the text, `condition` makes of the WHERE part a
function over a `message` with the help of `functions`, `route` joins source, condition and sink.

Edge hub refuses a route whose types do not fit (a property is text, so it never equals a number)
and, worse, takes some that cannot do what they say: ``a!=b`` compares a property named ``a!``,
a ``*`` in the middle of a path is a name, ``TRUE`` is a property.  All are errors here, with the
place.
"""

from bordnetz.laptop.routes.route import DEFAULT_PRIORITY, Route, parse_route, select
from bordnetz.laptop.routes.tokens import RouteError

__all__ = ["DEFAULT_PRIORITY", "Route", "RouteError", "parse_route", "select"]
