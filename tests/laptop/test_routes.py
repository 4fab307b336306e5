"""The route language, against an evaluator of its own and against Edge hub's known answers."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bordnetz.laptop.routes import DEFAULT_PRIORITY, RouteError, parse_route, select

JSON = {"contentType": "application/json", "contentEncoding": "utf-8"}


def matches(
    condition: str,
    properties: dict[str, str] | None = None,
    body: bytes = b"",
    system: dict[str, str] | None = None,
) -> bool:
    route = parse_route("r", f"FROM /messages/* WHERE {condition} INTO $upstream")
    return route.matches(
        "telemetry", "batches", properties or {}, JSON if system is None else system, body
    )


def refusal(route: str) -> RouteError:
    with pytest.raises(RouteError) as caught:
        parse_route("r", route)
    return caught.value


def refused_condition(condition: str) -> RouteError:
    return refusal(f"FROM /messages/* WHERE {condition} INTO $upstream")


# Source and sink


@pytest.mark.parametrize(
    ("source", "module", "output", "taken"),
    [
        ("/*", "m", "o", True),
        ("/*", "", "", True),
        ("/messages/*", "m", "o", True),
        ("/messages", "", "", True),
        ("/messages/modules/*", "m", "", True),
        ("/messages/modules/*", "", "", False),
        ("/messages/modules/m", "m", "o", True),
        ("/messages/modules/m/*", "m", "o", True),
        ("/messages/modules/m/*", "mm", "o", False),
        ("/messages/modules/m/*", "n", "o", False),
        ("/messages/modules/m/outputs/*", "m", "o", True),
        ("/messages/modules/m/outputs/*", "m", "", False),
        ("/messages/modules/m/outputs/o", "m", "o", True),
        ("/messages/modules/m/outputs/o", "m", "oo", False),
        ("/messages/modules/m/outputs/o", "m", "p", False),
        ("/Messages/Modules/M/Outputs/O", "m", "o", True),
        ("/twinChangeNotifications", "m", "o", False),
    ],
)
def test_a_source_covers_what_its_path_begins(
    source: str, module: str, output: str, taken: bool
) -> None:
    route = parse_route("r", f"FROM {source} INTO $upstream")
    assert route.source == source
    assert route.matches(module, output, {}, {}, b"") is taken


def test_a_route_knows_the_module_and_the_output_it_names() -> None:
    route = parse_route("r", "FROM /messages/modules/m/outputs/o INTO $upstream")
    assert (route.source_module, route.source_output) == ("m", "o")
    route = parse_route("r", "FROM /messages/modules/m/outputs/* INTO $upstream")
    assert (route.source_module, route.source_output) == ("m", None)
    route = parse_route("r", "FROM /messages/* INTO $upstream")
    assert (route.source_module, route.source_output) == (None, None)


def test_a_sink_is_the_cloud_or_an_input() -> None:
    assert parse_route("r", "FROM /* INTO $upstream").sink is None
    assert parse_route("r", "from /* into $UPSTREAM").sink is None
    text = "FROM /* INTO BrokeredEndpoint('/modules/relay/inputs/commands')"
    assert parse_route("r", text).sink == ("relay", "commands")
    text = 'FROM /* INTO brokeredendpoint("modules/relay/inputs/commands/")'
    assert parse_route("r", text).sink == ("relay", "commands")


def test_priority_and_time_to_live_fall_back_to_those_of_the_hub() -> None:
    route = parse_route("r", "FROM /* INTO $upstream")
    assert (route.priority, route.time_to_live) == (DEFAULT_PRIORITY, None)
    route = parse_route("r", "FROM /* INTO $upstream", 3, 0)
    assert (route.priority, route.time_to_live) == (3, None)
    assert parse_route("r", "FROM /* INTO $upstream", 3, 60).time_to_live == 60


def test_a_sink_gets_a_message_once_under_its_best_priority() -> None:
    routes = [
        parse_route("late", "FROM /* INTO $upstream", 7),
        parse_route("early", "FROM /messages/* INTO $upstream", 2),
        parse_route("input", "FROM /* INTO BrokeredEndpoint('/modules/m/inputs/i')", 9),
        parse_route("never", "FROM /* WHERE false INTO BrokeredEndpoint('/modules/m/inputs/j')"),
    ]
    names = {route.name for route in select(routes, "m", "o", {}, {}, b"")}
    assert names == {"early", "input"}


@pytest.mark.parametrize(
    ("route", "under", "says"),
    [
        ("", "", "expected 'FROM'"),
        ("FROM INTO $upstream", "INTO", "expected a path"),
        ("FROM messages/* INTO $upstream", "messages", "expected a path"),
        ("FROM /messages/modules/*/outputs/o INTO $upstream", "*/outputs", "last part"),
        ("FROM /messages/modules/m* INTO $upstream", "m*", "alone between slashes"),
        ("FROM /messages/modules/m/output/o INTO $upstream", "messages", "no message comes"),
        ("FROM /devices/* INTO $upstream", "devices", "no message comes"),
        ("FROM /messages/modules/42/* INTO $upstream", "42", "numbers"),
        ("FROM /messages/modules/into/* INTO $upstream", "into", "keywords"),
        ("FROM /messages/modules/$edgeHub/* INTO $upstream", "$edgeHub", "begin with '$'"),
        ("FROM /* WHERE true", "", "WHERE or INTO"),
        ("FROM /* INTO $downstream", "$downstream", "a sink is $upstream or"),
        ("FROM /* INTO Endpoint('/modules/m/inputs/i')", "Endpoint", "a sink is $upstream or"),
        ("FROM /* INTO BrokeredEndpoint(/modules)", "/modules", "in quotes"),
        ("FROM /* INTO BrokeredEndpoint('/modules/m/i')", "'/modules", "in quotes"),
        ("FROM /* INTO BrokeredEndpoint('/modules/m/input/i')", "'/modules", "in quotes"),
        ("FROM /* INTO BrokeredEndpoint('/modules/m/inputs/i'", "", "expected ')'"),
        ("FROM /* INTO $upstream AND more", "AND", "nothing may follow"),
        ("FROM /* WHERE a = '*/' INTO $upstream", "/* WHERE", "for a comment"),
        ("FROM /*; INTO $upstream", ";", "no meaning"),
    ],
)
def test_a_bad_route_is_refused_at_its_place(route: str, under: str, says: str) -> None:
    error = refusal(route)
    assert says in error.problem
    expected = route.rindex(under) if under else len(route)
    assert error.position == expected
    shown = str(error).splitlines()
    assert shown[0].startswith(f"column {expected + 1}: ")
    assert shown[2].index("^") - 4 == min(expected, 60)


# Conditions


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("priority = '5'", True),
        ('PRIORITY = "5"', True),
        ("priority != '5'", False),
        ("priority <> '6'", True),
        ("as_number(priority) >= 5", True),
        ("as_number(priority) + 1 = 2 * 3", True),
        ("as_number(priority) % 3 = 2", True),
        ("as_number(campaign) = 5", False),
        ("- 3 < -2.5e0 AND 0x10 = 16", True),
        ("missing = '5'", False),
        ("NOT (missing = '5')", False),
        ("NOT is_defined(missing)", True),
        ("(missing ?? 'x') = 'x'", True),
        ("missing = '5' OR priority = '5'", True),
        ("NOT (missing = '5' AND false)", True),
        ("true OR true AND false", True),
        ("(true OR true) AND false", False),
        ("NOT true = false", True),
        ("1 < 2 = true", True),
        ("2 + 3 * 4 = 14 AND 10 - 3 - 2 = 5 AND 8 / 4 / 2 = 1", True),
        ("campaign || '-' || priority = 'default-5'", True),
        ("starts_with(campaign, 'def') AND ends_with(campaign, 'ult')", True),
        ("contains(campaign, 'faul') AND index_of(campaign, 'f') = 2", True),
        ("index_of(campaign, 'z') = -1", True),
        ("substring(campaign, 2) = 'fault' AND substring(campaign, 0, 3) = 'def'", True),
        ("is_defined(substring(campaign, 8))", False),
        ("is_defined(substring(campaign, 3, 5))", False),
        ("Length(upper(campaign)) = 7 AND UPPER(lower(campaign)) = 'DEFAULT'", True),
        ("concat(priority, campaign, 'x') = '5defaultx'", True),
        ("power(2, 3) = square(3) - 1 AND sqrt(9) = 3 AND abs(-2) = 2", True),
        ("ceiling(1.2) = 2 AND floor(-1.2) = -2 AND sign(-3) = -1 AND exp(0) = 1", True),
        ("is_defined(sqrt(-1))", False),
        ("1 / 0 > 1e300", True),
        ("is_defined(0 / 0)", False),
        ("is_string(campaign) AND NOT is_number(campaign) AND is_bool(true)", True),
        ("$contentType = 'application/json'", True),
        ("$connectionModuleId = 'x'", False),
        ("{$contentType} = 'application/json'", True),
        ("'\\u0041\\'' = \"A'\"", True),
        ("'b' > 'a' AND 'B' < 'a'", True),
    ],
)
def test_a_condition_has_the_answer_of_edge_hub(condition: str, expected: bool) -> None:
    assert matches(condition, {"priority": "5", "campaign": "default"}) is expected


BODY = b'{"a": {"b": [1, {"c": "x"}]}, "on": true, "none": null, "n": 7, "s": "7"}'


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("$body.a.b[1].c = 'x'", True),
        ("$BODY.n > 6 AND $body.n + 1 = 8", True),
        ("$body.on", True),
        ("NOT $body.on", False),
        ("$body.none = null", True),
        ("$body.missing = null AND is_defined($body.missing)", True),
        ("$body.a.b[7] = null", True),
        ("is_defined($body.a)", False),
        ("$body.s = 7", False),
        ("$body.s > 7", True),
        ("as_number($body.s) = 7", True),
        ("length($body.s) = 1 AND is_number($body.n)", True),
        ("$body.on OR missing = 'x'", False),
        ("$body.n || 'x' = '7x'", False),
    ],
)
def test_a_condition_looks_into_a_json_body(condition: str, expected: bool) -> None:
    assert matches(condition, body=BODY) is expected


@pytest.mark.parametrize(
    ("body", "system"),
    [
        (BODY, {}),
        (BODY, {**JSON, "contentType": "application/x-protobuf"}),
        (BODY, {**JSON, "contentEncoding": "zstd"}),
        (b'["n"]', JSON),
        (b"\xff", JSON),
        (b'{"n":', JSON),
        (b'{"n":' * 100_000, JSON),
    ],
)
def test_a_body_that_cannot_be_read_is_undefined(body: bytes, system: dict[str, str]) -> None:
    assert not matches("is_defined($body.n)", body=body, system=system)
    assert matches("NOT is_defined($body.n)", body=body, system=system)


def test_a_number_of_any_length_in_a_body_costs_little() -> None:
    assert matches("$body.n > 1e300", body=b'{"n": ' + b"9" * 200_000 + b"}")


def test_a_user_property_goes_before_a_system_property_unless_escaped() -> None:
    properties = {"$contentType": "mine"}
    assert matches("$contentType = 'mine'", properties)
    assert matches("{$contentType} = 'application/json'", properties)


@pytest.mark.parametrize(
    ("condition", "under", "says"),
    [
        ("a!='b'", "a!", "one name; put spaces"),
        ("a='b'AND true", "'b'AND", "one name; put spaces"),
        ("speed*2 > 5", "speed*2", "one name; put spaces"),
        ("priority = 5", "=", "as_number"),
        ("priority < 5", "<", "as_number"),
        ("missing ?? 'x' = 'x'", "??", "between text and true or false"),
        ("done = true", "=", "compare with 'true'"),
        ("NOT a = 'b'", "a =", "NOT (...)"),
        ("a", "a", "never matches"),
        ("5", "5", "never matches"),
        ("a AND true", "a AND", "needs a condition on both sides"),
        ("true AND $body.on", "$body.on", "= true"),
        ("a + 1 = 2", "a +", "as_number"),
        ("- $body.n = 1", "$body.n", "as_number"),
        ("$body.n % 2 = 1", "%", "as_number"),
        ("a = undefined", "undefined", "is_defined"),
        ("a = TRUE", "TRUE", "write 'true'"),
        ("a = 'b", "'b", "does not end"),
        ("a = 'b c INTO", "'b c", "does not end"),
        ("a = '\\n'", "'\\n'", "escape"),
        ("e5 = 1", "e5", "it is none"),
        ("(a = 'b'", "INTO", "close the parenthesis"),
        ("a = 'b')", ")", "WHERE or INTO"),
        ("a = ", "INTO", "expected a property"),
        ("like(a, 'b')", "like", "no function 'like'"),
        ("length(a, b) = 1", "length", "length takes (text), not (text, text)"),
        ("concat(a) = 'a'", "concat", "concat takes (text, text)"),
        ("as_number() = 1", "as_number", "not (nothing)"),
        ("$body.a..b = 1", "$body.a..b", "a path into the body"),
        ("$body.* = 1", "$body.*", "a path into the body"),
        ("$x[0] = 'a'", "$x[0]", "only $body"),
        ("{a} = 'a'", "a}", "begins with '$'"),
    ],
)
def test_a_bad_condition_is_refused_at_its_place(condition: str, under: str, says: str) -> None:
    error = refused_condition(condition)
    assert says in error.problem
    text = f"FROM /messages/* WHERE {condition} INTO $upstream"
    assert error.position == text.index(under, text.index("WHERE") + 6)


def test_nesting_is_bounded_and_chains_are_not() -> None:
    deep = 49
    assert matches("(" * deep + "true" + ")" * deep)
    assert "deeper" in refused_condition("(" * 51 + "true" + ")" * 51).problem
    assert "deeper" in refused_condition("NOT " * 900 + "true").problem
    assert "deeper" in refused_condition("abs(" * 51 + "1" + ")" * 51 + " = 1").problem
    assert matches("0" + " + 1" * 900 + " = 900")
    assert matches(" AND ".join(["true"] * 400))
    assert "characters" in refused_condition("true" + " OR true" * 1000).problem


def test_joined_text_is_bounded() -> None:
    big = {"a": "x" * 200_000}
    assert matches("is_defined(a)", big)
    assert not matches("is_defined(a || a)", big)


# Against a second evaluator: trees of operations rendered with as few parentheses as the
# precedence allows, and evaluated here by walking the tree.

PROPERTIES = {"text": "abc", "five": "5", "empty": ""}
UNDEFINED = object()


@dataclass(frozen=True)
class Node:
    kind: str
    sign: str
    parts: tuple[Any, ...]
    level: int


def leaf(kind: str, text: str, value: Any) -> Node:
    return Node(kind, text, (value,), 8)


NUMBERS = st.sampled_from([leaf("number", str(n), float(n)) for n in (-2, 0, 1, 2.5, 7)])
TEXTS = st.sampled_from(
    [leaf("text", f"'{text}'", text) for text in ("abc", "5", "zz")]
    + [leaf("text", name, value) for name, value in PROPERTIES.items()]
    + [leaf("text", "missing", UNDEFINED)]
)
BOOLS = st.sampled_from([leaf("bool", "true", True), leaf("bool", "false", False)])


def binary(kind: str, sign: str, level: int, operands: st.SearchStrategy[Node]) -> Any:
    return st.builds(lambda a, b: Node(kind, sign, (a, b), level), operands, operands)


numbers = st.recursive(
    NUMBERS | TEXTS.map(lambda text: Node("number", "as_number", (text,), 8)),
    lambda inner: st.one_of(
        *(binary("number", sign, level, inner) for sign, level in [("+", 5), ("-", 5), ("*", 6)])
    ),
    max_leaves=4,
)
texts = st.recursive(
    TEXTS,
    lambda inner: binary("text", "||", 5, inner) | binary("text", "??", 0, inner),
    max_leaves=3,
)
comparisons = st.one_of(
    *(
        binary("bool", sign, level, operands)
        for operands in (numbers, texts)
        for sign, level in [
            ("=", 3),
            ("!=", 3),
            ("<>", 3),
            ("<", 4),
            ("<=", 4),
            (">", 4),
            (">=", 4),
        ]
    ),
    texts.map(lambda text: Node("bool", "is_defined", (text,), 8)),
)
conditions = st.recursive(
    comparisons | BOOLS,
    lambda inner: st.one_of(
        binary("bool", "AND", 2, inner),
        binary("bool", "OR", 1, inner),
        binary("bool", "=", 3, inner),
        inner.map(lambda part: Node("bool", "NOT", (part,), 7)),
    ),
    max_leaves=8,
)


def render(node: Node) -> str:
    if node.parts and not isinstance(node.parts[0], Node):
        return node.sign
    if node.sign == "NOT":
        inner = node.parts[0]
        return "NOT " + (render(inner) if inner.level >= 7 else f"({render(inner)})")
    if len(node.parts) == 1:
        return f"{node.sign}({render(node.parts[0])})"
    left, right = node.parts
    return " ".join(
        [
            render(left) if left.level >= node.level else f"({render(left)})",
            node.sign,
            render(right) if right.level > node.level else f"({render(right)})",
        ]
    )


# A loaded machine is no failure.


def evaluate(node: Node) -> Any:
    if node.parts and not isinstance(node.parts[0], Node):
        return node.parts[0]
    values = [evaluate(part) for part in node.parts]
    if node.sign == "is_defined":
        return values[0] is not UNDEFINED
    if node.sign in ("AND", "OR"):
        decisive = node.sign == "OR"
        if any(value is decisive for value in values):
            return decisive
    if node.sign == "??":
        return values[1] if values[0] is UNDEFINED else values[0]
    if any(value is UNDEFINED for value in values):
        return UNDEFINED
    if node.sign == "as_number":
        return {"5": 5.0}.get(values[0], UNDEFINED)
    if node.sign == "NOT":
        return not values[0]
    left, right = values
    operators = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "||": lambda: left + right,
        "=": lambda: left == right,
        "!=": lambda: left != right,
        "<>": lambda: left != right,
        "<": lambda: left < right,
        "<=": lambda: left <= right,
        ">": lambda: left > right,
        ">=": lambda: left >= right,
        "AND": lambda: left and right,
        "OR": lambda: left or right,
    }
    return operators[node.sign]()


@given(conditions)
def test_precedence_and_truth_agree_with_the_tree(tree: Node) -> None:
    assert matches(render(tree), PROPERTIES) is (evaluate(tree) is True)


WORDS = """FROM WHERE INTO AND OR NOT SELECT true null length BrokeredEndpoint a 5 1e é
    /messages/* /* */ * $upstream $body.a[0] '/modules/m/inputs/i' 'x'
    ( ) = <> != ? ?? || { } , " \\"""
ALPHABET = st.sampled_from([*WORDS.split(), "\x00", "\ud800"])


@given(
    st.lists(st.tuples(ALPHABET, st.sampled_from(["", " "])), max_size=25).map(
        lambda parts: "".join(text + gap for text, gap in parts)
    )
    | st.text(max_size=60)
)
@example("FROM /* WHERE a = '\ud800' INTO $upstream")
def test_any_text_is_a_route_or_an_error_with_a_place(text: str) -> None:
    try:
        route = parse_route("r", text)
    except RouteError as refused:
        error = refused
    else:
        assert route.matches("m", "o", {"a": "x"}, JSON, b"{}") in (True, False)
        return
    assert 0 <= error.position <= len(text)
    assert f"column {error.position + 1}:" in str(error)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_as_number_reads_what_is_written(value: float) -> None:
    assert matches(f"as_number(v) = {value!r}", {"v": repr(value)})
    assert math.isfinite(value)
