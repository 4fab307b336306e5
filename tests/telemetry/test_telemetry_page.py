"""docs/telemetry.md, docs/telemetry.dtdl.json and the code say the same, in both directions."""

import json
import re
import tomllib
import urllib.request
from pathlib import Path

import click
import pytest
from telemetry_help import (
    EEC1,
    HEAT,
    SIGNALS,
    Cloud,
    ask,
    call,
    eventually,
    frames,
)

from bordnetz.can import filters
from bordnetz.can.sources import line
from bordnetz.can.transport import assembler, fast, isotp, j1939
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge import run
from bordnetz.telemetry import (
    backlog,
    bundle,
    buses,
    collection,
    config,
    messages,
    module,
    pipeline,
    state,
    switch,
)
from bordnetz.telemetry.books import NO_BUS, REASONS
from bordnetz.telemetry.command import telemetry
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.module import Snapshot

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "telemetry.md").read_text()
MODEL = json.loads((DOCS / "telemetry.dtdl.json").read_text())
SCHEMAS = {schema["@id"]: schema for schema in MODEL["schemas"]}
CODE = Desired.model_json_schema()

# DTDL v3, "Digital Twin Model Identifier" and the metamodel's name rule.
DTMI = re.compile(
    r"dtmi:[A-Za-z](?:\w*[A-Za-z0-9])?(?::[A-Za-z](?:\w*[A-Za-z0-9])?)*;[1-9]\d{0,8}", re.ASCII
)
NAME = re.compile(r"[A-Za-z](?:\w{0,510}[A-Za-z0-9])?", re.ASCII)
PRIMITIVE = {"boolean", "double", "integer", "long", "string"}
DEEPEST = 8
"""Levels of nested schemas in a model (DTDL v3)."""


def contents(kind, **more):
    return {
        one["name"]: one
        for one in MODEL["contents"]
        if one["@type"] == kind and all(one.get(k, False) == v for k, v in more.items())
    }


def table(*headings):
    """Rows of the page's table with these headings; cells without code marks."""
    head = "| " + " | ".join(headings) + " |\n"
    assert PAGE.count(head) == 1, head
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(heading):
    return re.split(r"\n##+ ", PAGE.split(f"\n{heading}\n")[1])[0]


def examples(heading):
    found = re.findall(r"```json\n(.*?)```", section(heading), re.DOTALL)
    return [json.loads(text) for text in found]


def resolved(schema):
    return SCHEMAS.get(schema, schema) if isinstance(schema, str) else schema


def check(schema, depth=1):
    """A schema is one that DTDL v3 allows."""
    assert depth <= DEEPEST
    if isinstance(schema, str):
        assert schema in PRIMITIVE or schema in SCHEMAS, schema
        if schema in SCHEMAS:
            check(SCHEMAS[schema], depth)
        return
    kind = schema["@type"]
    if kind == "Array":
        check(schema["elementSchema"], depth + 1)
    elif kind == "Map":
        assert schema["mapKey"]["schema"] == "string"
        for part in ("mapKey", "mapValue"):
            assert NAME.fullmatch(schema[part]["name"])
        check(schema["mapValue"]["schema"], depth + 1)
    elif kind == "Enum":
        assert schema["valueSchema"] in ("integer", "string")
        assert len({value["name"] for value in schema["enumValues"]}) == len(schema["enumValues"])
        for value in schema["enumValues"]:
            assert NAME.fullmatch(value["name"])
            assert isinstance(value["enumValue"], str) == (schema["valueSchema"] == "string")
    else:
        assert kind == "Object"
        names = [field["name"] for field in schema["fields"]]
        assert names
        assert len(set(names)) == len(names)
        for field in schema["fields"]:
            assert NAME.fullmatch(field["name"])
            check(field["schema"], depth + 1)


def fits(value, schema, nullable=(), where="$"):
    """A JSON value is what a schema says: every field there, none besides."""
    schema = resolved(schema)
    if schema == "string":
        assert isinstance(value, str), where
    elif schema == "boolean":
        assert isinstance(value, bool), where
    elif schema in ("integer", "long"):
        assert type(value) is int, where
        assert abs(value) < 2 ** (31 if schema == "integer" else 63), where
    elif schema == "double":
        assert type(value) in (int, float), where
    elif schema["@type"] == "Array":
        for item in value:
            fits(item, schema["elementSchema"], nullable, f"{where}[]")
    elif schema["@type"] == "Map":
        for key, item in value.items():
            fits(item, schema["mapValue"]["schema"], nullable, f"{where}.{key}")
    else:
        fields = {field["name"]: field["schema"] for field in schema["fields"]}
        assert value.keys() == fields.keys(), where
        for name, item in value.items():
            if not (item is None and name in nullable):
                fits(item, fields[name], nullable, f"{where}.{name}")


NULLABLE = ("value", "text", "quality")


# -- the model in itself


def test_the_model_is_one_of_dtdl_v3():
    assert MODEL["@context"] == "dtmi:dtdl:context;3"
    assert MODEL["@type"] == "Interface"
    for identity in (MODEL["@id"], *SCHEMAS):
        assert DTMI.fullmatch(identity), identity
        assert len(identity) <= 2048
    names = [one["name"] for one in MODEL["contents"]]
    assert len(set(names)) == len(names)
    allowed = {
        "Property": {"@type", "name", "description", "writable", "schema"},
        "Command": {"@type", "name", "description", "request", "response"},
    }
    for one in MODEL["contents"]:
        assert NAME.fullmatch(one["name"])
        assert one.keys() <= allowed[one["@type"]]
        assert len(one.get("description", "")) <= 512
        schemas = [one["schema"]] if one["@type"] == "Property" else []
        for payload in (one.get("request"), one.get("response")):
            if payload is not None:
                assert NAME.fullmatch(payload["name"])
                schemas.append(payload["schema"])
        for schema in schemas:
            check(schema)
    for schema in SCHEMAS.values():
        check(schema)


# -- desired properties


def limits(schema):
    """The limits of a JSON schema in the words of the page."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "string":
        return f"{schema['minLength']} to {schema['maxLength']} characters"
    if schema["type"] == "array":
        return f"at most {schema['maxItems']}"
    if schema["type"] == "boolean":
        return "`true` or `false`"
    return f"{schema['minimum']:g} to {schema['maximum']:.15g}"


def kind(schema):
    if "enum" in schema:
        return "text"
    if schema["type"] == "array":
        return "list of rules" if "$ref" in schema["items"] else "list of texts"
    others = {"string": "text", "integer": "integer", "boolean": "boolean"}
    return others.get(schema["type"], "number, s")


def test_the_page_lists_every_desired_property_as_the_code_takes_it():
    rule = CODE["$defs"]["Rule"]
    expected = []
    for name, schema in CODE["properties"].items():
        default = json.dumps(schema["default"])
        expected.append([f"`{name}`", kind(schema), f"`{default}`", limits(schema)])
        if name == "state":
            expected.append(["`state[]`", "text", "required", limits(schema["items"])])
        if name == "collect":
            for field, inner in rule["properties"].items():
                default = f"`{json.dumps(inner['default'])}`" if "default" in inner else "required"
                expected.append([f"`collect[].{field}`", kind(inner), default, limits(inner)])
    assert table("property", "type", "default", "limits") == expected


def dtdl(schema):
    """The DTDL schema of a JSON schema, without descriptions and names of enumeration values."""
    if "$ref" in schema:
        schema = CODE["$defs"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return {"@type": "Enum", "valueSchema": "string", "enumValues": schema["enum"]}
    if schema["type"] == "array":
        return {"@type": "Array", "elementSchema": dtdl(schema["items"])}
    if schema["type"] == "object":
        fields = {name: dtdl(inner) for name, inner in schema["properties"].items()}
        return {"@type": "Object", "fields": fields}
    return {"number": "double"}.get(schema["type"], schema["type"])


def bare(schema):
    schema = resolved(schema)
    if isinstance(schema, str):
        return schema
    result = {key: value for key, value in schema.items() if key not in ("description", "@id")}
    if "enumValues" in result:
        result["enumValues"] = [value["enumValue"] for value in result["enumValues"]]
    if "elementSchema" in result:
        result["elementSchema"] = bare(result["elementSchema"])
    if "fields" in result:
        result["fields"] = {field["name"]: bare(field["schema"]) for field in result["fields"]}
    return result


def test_the_model_has_every_desired_property_as_the_code_takes_it():
    writable = contents("Property", writable=True)
    assert {name: bare(one["schema"]) for name, one in writable.items()} == {
        name: dtdl(schema) for name, schema in CODE["properties"].items()
    }
    # Limits are not for DTDL to say, so the descriptions do.
    rule = {f["name"]: f for f in writable["collect"]["schema"]["elementSchema"]["fields"]}
    described = {
        **{name: (CODE["properties"][name], one) for name, one in writable.items()},
        **{name: (CODE["$defs"]["Rule"]["properties"][name], one) for name, one in rule.items()},
    }
    for name, (schema, one) in described.items():
        for key in ("minimum", "maximum", "maxLength", "maxItems"):
            if key in schema:
                assert f"{schema[key]:.15g}" in one["description"], name


def test_the_desired_properties_of_the_page_are_accepted():
    for example in examples("## Desired properties"):
        Desired.model_validate(example)


# -- methods and reported properties, as a running module gives them


def test_a_running_module_answers_as_page_and_model_say(deploy, start, car):
    hub = deploy(collect=[{"match": "*"}])
    process = start(hub).collecting()
    car.count(range(50))
    car.send(frames(HEAT, [b"\xff" * 8]))
    car.send(frames(0x300, [b"\xff"]))
    car.send(frames(EEC1, [bytes(8)]), "truck")
    eventually(lambda: call(hub, "status")["frames"]["received"], lambda n: n == car.sent)
    commands = contents("Command")
    known = ask(hub, "no-such-method")[1]["error"].split(": ")[1].split(", ")
    assert set(known) == commands.keys() == set(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE))
    for name, command in commands.items():
        answer = call(hub, name)
        fits(answer, command["response"]["schema"], NULLABLE)
        # The answers of the page have the same form.
        shown = examples(f"### `{name}`")
        if "request" in command:
            fits(shown[0], command["request"]["schema"])
            Snapshot.model_validate(shown[0])
        assert len(shown) == (2 if "request" in command else 1)
        fits(shown[-1], command["response"]["schema"], NULLABLE)
    assert call(hub, "status")["frames"]["dropped"] == {"short": 1}
    readable = contents("Property", writable=False)
    reported = eventually(
        lambda: hub.control.twin("telemetry")["reported"],
        lambda shown: (
            shown.get("collecting") == {"signals": SIGNALS} and shown.keys() >= readable.keys()
        ),
    )
    writable = contents("Property", writable=True)
    state = reported.keys() - writable.keys() - {"$version"}
    assert state == readable.keys()
    for name in state:
        fits(reported[name], readable[name]["schema"])
    for name in reported.keys() & writable.keys():
        assert reported[name].keys() == {"value", "ac", "av", "ad"}
    assert {row[0] for row in table("property", "what it holds")} == {f"`{n}`" for n in state}
    # The page names every field of them.
    for name, text in table("property", "what it holds"):
        for field in reported[name.strip("`")]:
            assert f"`{field}`" in text, field
    metrics = set(re.findall(r"^# TYPE (\S+)", page_of(process), re.MULTILINE))
    documented = set()
    for cell, _ in table("metric", "labels"):
        first, *others = re.findall(r"`(\w+)`", cell)
        stem = first.rsplit("_", 1)[0]
        documented |= {first, *(stem + other for other in others)}
    of_python = {name for name in metrics if name.endswith("_created")}
    assert {name.removesuffix("_total") for name in metrics - of_python} == documented
    eventually(lambda: Cloud(hub).arrivals, bool)


def page_of(process):
    return urllib.request.urlopen(process.logged(r"metrics at (\S+)")[1]).read().decode()


def test_the_request_of_snapshot_is_what_the_code_takes():
    schema = Snapshot.model_json_schema()
    (field,) = contents("Command")["snapshot"]["request"]["schema"]["fields"]
    assert [field["name"]] == list(schema["properties"])
    signals = schema["properties"]["signals"]
    assert str(signals["maxItems"]) in field["description"]
    assert f"1 to {signals['items']['maxLength']} characters" in field["description"]
    assert f"one of up to {signals['maxItems']} globs" in section("### `snapshot`")
    assert f"; {module.SHOWN} at most" in section("### `snapshot`")


# -- the rest of the page


def test_the_message_properties_of_the_page_are_those_sent():
    message = messages._message(b"", "batch", 5, 1, 2)
    assert [row[0].strip("`") for row in table("property", "value")] == list(message.properties)
    text = section("### Batches and dictionaries")
    for value in (message.output, message.content_type, message.content_encoding):
        assert f"`{value}`" in text
    assert message.properties["schema"] in text
    assert message.properties["campaign"] in text


def test_the_state_of_the_page_is_the_one_told():
    text = section("### State")
    (told,) = examples("### State")
    message = messages.state_message(told)
    for value in (message.output, message.content_type, message.content_encoding):
        assert f"`{value}`" in text
    for name, value in message.properties.items():
        assert f"property `{name}` `{value}`" in text
    assert list(told) == ["time", "signals", "ages"]
    assert told["signals"].keys() == told["ages"].keys()
    assert (state.EACH, config.MOST_STATE) == (1, 50)
    assert "once a second at most" in text
    assert f"every {state.PERIOD:g} s at least" in text
    assert f"for {state.STALE:g} s" in text
    assert f"more than {config.MOST_STATE} signals in all" in section("## Desired properties")


def test_bundles_of_the_page_are_those_taken():
    announced, refused = examples("## Bundles")
    switch.Announcement.model_validate(announced)
    assert re.fullmatch(bundle.HASH, announced["hash"])
    assert refused.keys() == switch._refusal("", "").keys()
    text = section("## Bundles")
    assert f"for {switch.PATIENCE:g} s at most" in text
    assert f"over {bundle.MOST_FILES:,} files or {bundle.MOST_BYTES >> 20} MiB" in text
    about = section("### Answers about bundles")
    message = messages.ack_parcel(refused).make(0, 0)
    for value in (message.output, message.content_type, message.content_encoding):
        assert f"`{value}`" in about
    for name, value in message.properties.items():
        assert f"property `{name}` `{value}`" in about


def test_the_books_of_the_page_are_those_kept():
    assert tuple(row[0].strip("`") for row in table("reason", "why a frame was dropped")) == REASONS
    rows = table("in `status`", "metric `bordnetz_frames_..._total`", "what it counts")
    frames_schema = SCHEMAS["dtmi:bordnetz:telemetry:frames;1"]
    assert [row[0].strip("`") for row in rows] == [f["name"] for f in frames_schema["fields"]]
    assert f"`{NO_BUS}`" in section("## The books")


def test_what_the_page_says_of_buses_with_long_messages_is_read_as_it_stands_there():
    text = section("## Messages of many frames")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    content = tomllib.loads('name = "test"\n' + "".join(examples))
    diagnostics, boat = Vehicle.parse(content, Path("vehicle.toml")).buses
    (conversation,) = diagnostics.isotp
    assert (diagnostics.nmea2000, boat.nmea2000) == (False, True)
    assert conversation.ids == (0x7E4, 0x7EC)
    assert conversation.length_byte


def test_the_numbers_of_the_page_are_those_of_the_code():
    assert f"{backlog.LIMIT >> 20} MiB at most" in PAGE
    assert f"on {pipeline.FULL:,} of them at most" in PAGE
    assert pipeline.PATIENCE == 6
    assert "for six more windows at most" in PAGE
    assert f"priorities {pipeline.URGENT + 1} to 9" in PAGE
    assert f"the log has the first {module._PROBLEMS_SHOWN}" in PAGE
    assert f"{assembler.MOST_OPEN:,} frames of unfinished messages" in PAGE
    rows = {bound: limits for bound, *limits in table("bound", "J1939", "ISO-TP", "NMEA 2000")}
    longest = [f"{protocol.LONGEST:,} bytes" for protocol in (j1939, isotp, fast)]
    assert rows["longest message"] == longest
    pauses = [
        f"{j1939._T1 // 10**6} ms in a broadcast, else {j1939._T2 // 10**6:,} ms",
        f"{isotp._LIMIT // 10**6:,} ms",
        f"{fast._LIMIT // 10**6:,} ms",
    ]
    assert rows["longest pause between two frames of a message"] == pauses
    groups = [number for number in range(1 << 18) if fast.is_fast(number, 8)]
    ends = [number for number in groups if number - 1 not in groups or number + 1 not in groups]
    assert "{} to {} and {} to {}".format(*ends) in section("## Messages of many frames")
    assert collection._RESOLUTIONS.keys() == {"ms", "us"}
    text = section("## Capture")
    assert f"first after {line.FIRST_WAIT:g} s and then every {line.LONGEST_WAIT:g} s" in text
    assert f"over {filters.MOST_FILTERS} filters" in text
    assert f"some stand for up to {1 << filters.WIDEST} ids" in text
    assert f"every {buses.EACH:g} s at most" in text
    reported = dict(table("property", "what it holds"))["`capture`"]
    assert f"{buses.SHOWN} at most" in reported
    assert f"every {buses.EACH:g} s at most" in reported


def test_the_options_of_the_page_are_those_of_the_command():
    shown = {
        row[0].strip("`"): row[1:] for row in table("option", "variable", "default", "meaning")
    }
    options = {
        option.opts[0]: option for option in telemetry.params if isinstance(option, click.Option)
    }
    assert shown.keys() == options.keys()
    for name, option in options.items():
        variable, default, _ = shown[name]
        assert variable == f"`{option.envvar}`"
        assert default == (f"`{option.default}`" if isinstance(option.default, str) else "none")


def test_the_exit_codes_of_the_page_are_those_of_every_module():
    codes = re.findall(r"^(\d+) {2,}\S", run.__doc__ or "", re.MULTILINE)
    assert [row[0] for row in table("exit code", "in this module")] == codes


@pytest.mark.parametrize("name", re.findall(r"`(docs/[\w.]+)`", PAGE))
def test_the_pages_it_points_to_are_there(name):
    assert (DOCS.parent / name).is_file()
