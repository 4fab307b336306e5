"""The route language of Edge hub, as its grammar and its types have it.

In the order a route is read: `tokens` cuts the text, `condition` makes of the WHERE part a
function over a `message` with the help of `functions`, `route` joins source, condition and sink.

The language has traps that cost messages without a word: Edge hub reads ``a!=b`` as a comparison
with a property named ``a!``, compares a property (always text) with a number never, and takes a
``*`` in the middle of a path for a name.  All of them are errors here, with the place.
"""

from bordnetz.laptop.routes.route import DEFAULT_PRIORITY, Route, parse_route, select
from bordnetz.laptop.routes.tokens import RouteError

__all__ = ["DEFAULT_PRIORITY", "Route", "RouteError", "parse_route", "select"]
