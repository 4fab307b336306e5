"""docs/ota.md, docs/ota.dtdl.json, docs/ota.svg and the code say the same.

What only a running module can tell is held to the page by module/test_ota_page_live.py.
"""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import click
import pytest
from pages import DOCS, ROOT, Model, Page

from bordnetz.edge import report as edge_report
from bordnetz.edge import run
from bordnetz.edge.twin import WHOLE
from bordnetz.laptop.manifest import load_template
from bordnetz.laptop.manifest.load import OUTPUTS
from bordnetz.ota import (
    attempt,
    bundles,
    conditions,
    consent,
    forward,
    journal,
    ledger,
    module,
    obtain,
    outgoing,
    part,
    rate,
    updates,
    waits,
)
from bordnetz.ota.address import LONGEST
from bordnetz.ota.attempt import Verb
from bordnetz.ota.command import ota
from bordnetz.ota.config import Desired
from bordnetz.ota.download import Conduct
from bordnetz.ota.installers.boot_loader import BootLoader
from bordnetz.ota.installers.installer import Installer
from bordnetz.ota.module import Ota, WorkshopAnswer
from bordnetz.ota.states import Result, State
from bordnetz.ota.vehicle import DataEcu, FileEcu, OtaSettings, RaucEcu, SwupdateEcu
from bordnetz.uptane.manifest import MAX_ATTACKS

PAGE = Page("ota.md")
MODEL = Model("ota.dtdl.json")
DESIRED = Desired.model_json_schema()
SETTINGS = OtaSettings.model_json_schema()
HEADS = ("key", "type", "default", "limits")
ECUS = {"data": DataEcu, "file": FileEcu, "rauc": RaucEcu, "swupdate": SwupdateEcu}
NAME = DESIRED["$defs"]["Reference"]["properties"]["id"]["pattern"]


def unwrapped(schema):
    """Without what pydantic makes of a reference, or of None as the default."""
    (schema,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"] or [
        schema
    ]
    return schema


def text_of(number):
    return f"{number:.15g}"


def limits(schema):
    """The limits of a JSON schema in the words of the page."""
    if "anyOf" in schema and len(schema["anyOf"]) > 2:
        return ""
    schema = unwrapped(schema)
    kind = schema.get("type")
    if schema.get("pattern") == NAME or "$ref" in schema or kind == "boolean":
        return ""
    if schema.get("pattern", "").startswith("^https"):
        return f"at most {schema['maxLength']} characters"
    if "prefixItems" in schema:
        return "`HH:MM`"
    if kind == "string":
        return f"{schema['minLength']} to {schema['maxLength']} characters"
    if kind == "array":
        return f"{schema.get('minItems', 0)} to {schema['maxItems']}"
    if kind == "object":
        return f"exactly {schema['minProperties']}" if "minProperties" in schema else ""
    if "exclusiveMinimum" in schema:
        return f"above {text_of(schema['exclusiveMinimum'])}, to {text_of(schema['maximum'])}"
    if "minimum" not in schema:
        return ""
    return f"{text_of(schema['minimum'])} to {text_of(schema['maximum'])}"


def kind(name, schema):
    """The type of a JSON schema in the words of the page."""
    if "anyOf" in schema and len(schema["anyOf"]) > 2:
        return "number or text"
    schema = unwrapped(schema)
    if "$ref" in schema:
        return {
            "Run": "command",
            "Reference": "reference, whole",
            "Metered": "object",
        }[schema["$ref"].rpartition("/")[2]]
    if schema.get("pattern") == NAME:
        return "name"
    if schema.get("pattern", "").startswith("^https"):
        return "URL"
    if name in ("conditions", "always", "tonight", "ecu", "sides", "argv"):
        return {
            "conditions": "table of conditions",
            "always": "list of names",
            "tonight": "two times of day",
            "ecu": "list of ECUs",
            "sides": "table of two sides",
            "argv": "list of texts",
        }[name]
    unit = {"timeout": ", s", "checkInterval": ", s", "mostBytes": ", bytes"}.get(name, "")
    return {"string": "text"}.get(schema["type"], schema["type"]) + unit


def default(schema, required, none="none"):
    if required:
        return "required"
    value = schema["default"]
    if value is None:
        return none
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def rows(schema, prefix="", none="none", leave=()):
    required = schema.get("required", [])
    return [
        [f"`{prefix}{name}`", kind(name, one), default(one, name in required, none), limits(one)]
        for name, one in schema["properties"].items()
        if name not in leave
    ]


# -- the picture and the states


def test_the_picture_is_drawn_from_the_steps_as_they_are():
    spec = importlib.util.spec_from_file_location("ota_picture", DOCS / "ota_picture.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (DOCS / "ota.svg").read_text() == script.picture(), "run docs/ota_picture.py"
    assert "(ota.svg)" in PAGE.section("## States")


def test_every_state_is_explained_and_stands_in_the_picture():
    shown = [row[0].strip("`") for row in PAGE.table("state", "what it means", "what to do")]
    assert shown == [state.value for state in State]
    drawn = (DOCS / "ota.svg").read_text()
    assert all(f">{state.value}</text>" in drawn for state in State)


# -- the vehicle file


def test_the_page_lists_every_key_of_the_vehicle_file():
    settings, command, condition, *_ = PAGE.tables(*HEADS)
    assert settings == rows(SETTINGS)
    assert command == rows(SETTINGS["$defs"]["Run"])
    assert condition == rows(SETTINGS["$defs"]["ConditionSpec"])


def test_the_page_lists_every_key_of_every_installer():
    expected = []
    for name, ecu in ECUS.items():
        leave = ("id", "hardware_id", "installer", "health")
        keys = rows(ecu.model_json_schema(), leave=leave) or [["", "", "", ""]]
        kinds = ", ".join(f"`{one}`" for one in sorted(ecu.kinds))
        expected += [
            [f"`{name}`" if not place else "", kinds if not place else "", *key]
            for place, key in enumerate(keys)
        ]
    shown = PAGE.table("installer", "payload kinds", "key", "type", "default", "limits")
    assert shown == expected


@pytest.mark.parametrize("installer", ECUS)
def test_the_example_of_an_installer_is_a_vehicle_file(installer):
    (heading,) = re.findall(rf"^### `{installer}`: .*$", PAGE.text, re.MULTILINE)
    (example,) = PAGE.blocks("toml", heading)
    settings = OtaSettings.parse(tomllib.loads(example)["ota"], Path("vehicle.toml"))
    assert [ecu.installer for ecu in settings.ecus] == [installer]
    assert "parked" in settings.conditions


def test_the_words_of_a_boot_loader_are_those_that_it_is_asked():
    shown = [row[0].strip("`").split() for row in PAGE.table("word", "what it does")]
    asked = re.findall(r"^([a-z]+-[a-z]+) ", boot_loader_page(), re.MULTILINE)
    assert [words[0] for words in shown] == asked


def boot_loader_page():
    return importlib.import_module(BootLoader.__module__).__doc__


# -- desired properties


def test_the_page_lists_every_desired_property_as_the_code_takes_it():
    expected = []
    for row in rows(DESIRED, none="`null`"):
        expected.append(row)
        inner = {"`campaign`": "Reference", "`link`": "Metered"}.get(row[0])
        if inner:
            expected += rows(DESIRED["$defs"][inner], prefix=row[0].strip("`") + ".")
    assert PAGE.table("property", "type", "default", "limits") == expected
    assert WHOLE in Desired.model_fields["campaign"].metadata


def test_the_desired_properties_of_the_page_are_accepted():
    (example,) = PAGE.examples("## Desired properties")
    desired = Desired.model_validate(example)
    assert desired.model_dump(by_alias=True) == example
    assert len(example) == len(DESIRED["properties"])


def dtdl(schema):
    """The DTDL schema of a JSON schema, without descriptions."""
    schema = unwrapped(schema)
    if "$ref" in schema:
        schema = DESIRED["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema["type"] == "object":
        fields = {name: dtdl(inner) for name, inner in schema["properties"].items()}
        return {"@type": "Object", "fields": fields}
    if schema["type"] == "integer" and schema["maximum"] >= 1 << 31:
        return "long"
    return {"number": "double"}.get(schema["type"], schema["type"])


def bare(schema):
    if isinstance(schema, str):
        return schema
    fields = {field["name"]: bare(field["schema"]) for field in schema["fields"]}
    return {"@type": "Object", "fields": fields}


def test_the_model_is_one_of_dtdl_v3():
    MODEL.check()


def test_the_model_has_every_desired_property_as_the_code_takes_it():
    writable = MODEL.contents("Property", writable=True)
    assert {name: bare(one["schema"]) for name, one in writable.items()} == {
        name: dtdl(schema) for name, schema in DESIRED["properties"].items()
    }
    # Limits are not for DTDL to say, so the descriptions do.
    described = [(writable[name], one) for name, one in DESIRED["properties"].items()]
    for name, inner in (("campaign", "Reference"), ("link", "Metered")):
        fields = {field["name"]: field for field in writable[name]["schema"]["fields"]}
        code = DESIRED["$defs"][inner]["properties"]
        described += [(fields[field], one) for field, one in code.items()]
    for one, schema in described:
        for key in ("minimum", "maximum", "maxLength"):
            bound = unwrapped(schema).get(key)
            assert bound is None or text_of(bound) in one["description"], one["name"]


# -- methods, inputs and outputs


def known_methods():
    settings = OtaSettings.parse(tomllib.loads(PAGE.blocks("toml")[0])["ota"], Path("v.toml"))
    made = Ota(settings, "v", None, None, Path(), Path())
    return {"ping", "status"} | {method.name for method in made.methods()}


def test_the_methods_of_page_and_model_are_those_of_the_code():
    headings = re.findall(r"^### `(\w+)`$", PAGE.section_of("## Methods"), re.MULTILINE)
    assert set(headings) == MODEL.contents("Command").keys() == known_methods()
    assert f"last {_shown()} attempts" in PAGE.section("### `history`")


def _shown():
    return importlib.import_module("bordnetz.ota.engine")._SHOWN


@pytest.mark.parametrize("name", sorted(MODEL.contents("Command")))
def test_the_answer_of_a_method_on_the_page_has_the_models_form(name):
    command = MODEL.contents("Command")[name]
    shown = PAGE.examples(f"### `{name}`")
    assert len(shown) == (2 if "request" in command else 1)
    if "request" in command:
        MODEL.fits(shown[0], command["request"]["schema"])
        WorkshopAnswer.model_validate(shown[0])
    if "response" in command:
        MODEL.fits(shown[-1], command["response"]["schema"])
    else:
        assert name == "manifest"


def test_the_inputs_of_the_page_are_those_taken():
    inputs = [row[0].strip("`") for row in PAGE.table("input", "from", "what it takes")]
    made = Ota.inputs(Ota.__new__(Ota))
    assert set(inputs) == made.keys()
    told, answer, ack = PAGE.examples("## Inputs")
    assert conditions._parse(json.dumps(told).encode())
    consent.Answer.parse(json.dumps(answer).encode())
    heard = bundles.Telemetry(lambda *_: None, 1, None).hear(json.dumps(ack).encode())
    assert heard.accepted
    text = PAGE.section("## Inputs")
    for most in (conditions.MOST_BYTES, consent.MOST_BYTES, bundles.MOST_BYTES):
        assert f"at most {most:,} bytes" in text
    answers = [row[0].strip("`") for row in PAGE.table("answer", "what it means")]
    assert answers == ["now", "tonight", "postpone"]
    for one in answers:
        consent.Answer(campaign="c", answer=one)


def test_the_outputs_of_the_page_are_those_that_routes_may_name():
    shown = PAGE.table("output", "property `schema`", "other properties", "priority")
    assert {row[0].strip("`") for row in shown} == OUTPUTS["ota"]
    assert OUTPUTS["ota"] == {outgoing.EVENTS, outgoing.MANIFEST, outgoing.BUNDLE}
    by_name = {row[0].strip("`"): row for row in shown}
    assert by_name[outgoing.EVENTS][3] == str(outgoing.URGENT)
    assert by_name[outgoing.MANIFEST][3] == str(outgoing.ORDINARY)
    assert f"every {bundles.REPEAT:g} s" in by_name[outgoing.BUNDLE][3]
    message = outgoing._json("events", b"{}", {})
    for value in (message.content_type, message.content_encoding):
        assert f"`{value}`" in PAGE.section("## Outputs")


def test_the_routes_of_the_template_lead_to_the_inputs_of_the_page_but_the_drivers():
    template = ROOT / "deployment.template.json"
    manifest = load_template(template, {"CONTAINER_REGISTRY_SERVER": "registry.example"})
    inputs = {row[0].strip("`") for row in PAGE.table("input", "from", "what it takes")}
    led_to = {route.sink[1] for route in manifest.routes if route.sink and route.sink[0] == "ota"}
    assert led_to == inputs - {"driver"}
    assert 'BrokeredEndpoint("/modules/ota/inputs/driver")' in PAGE.section("## Inputs")
    metrics = manifest.modules["ota"].env["BORDNETZ_METRICS_ADDRESS"]
    assert f"`http://{metrics}/metrics`" in PAGE.section("## Metrics")


# -- the numbers


LONGEST_WAIT = ledger.RETRY * 2**journal._DOUBLED // 3600
STORES = "## Stores, URLs and links"
WAITS = "### Waits that have an end"


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("## States", f"called {forward.LIMIT} times at most in one attempt"),
        ("## Vehicle file", f"every {updates.REBOOT:g} s while a reboot is due"),
        ("## Reported properties", f"{edge_report.ROOM:,} bytes in all"),
        (WAITS, f"looked for after {waits.PAUSES[0]:g} s, {waits.PAUSES[1]:g} s, a minute, and"),
        (WAITS, f"then every {waits.PAUSES[3] / 60:g} minutes"),
        (WAITS, f"After {waits.PROGRAM / 3600:g} h in all the attempt fails"),
        (WAITS, f"active in part waits for {waits.PATIENCE:g} s"),
        (WAITS, f"begun anew, {forward.LIMIT} times at most"),
        (WAITS, f"waited for at most {waits.WAY_OUT / 3600:g} h in the same way"),
        (WAITS, f"does not come** for {waits.REBOOT / 86_400:g} days"),
        ("### Events", f"has not come for {waits.REBOOT / 86_400:g} days"),
        ("### Events", f"twice as long each time, {LONGEST_WAIT} hours at most"),
        ("### Events", f"lost for {waits.PATIENCE:g} s while a group was active in part"),
        ("### Manifests", f"the last {MAX_ATTACKS} attacks and failures"),
        ("## Conditions and consent", f"told for {conditions.OLD:g} s is unknown"),
        ("## Conditions and consent", f"it waits for {waits.PATIENCE:g} s, and then"),
        ("## From a stick", f"looks every {updates.STICK:g} s"),
        (STORES, f"{rate.FLOOR:,} bytes a second on average"),
        (STORES, f"with {rate.PATIENCE:g} s of patience"),
        (STORES, f"up to {part.CHUNK >> 10} KiB"),
        (STORES, f"tried again after {obtain.PAUSES[0]:g} s"),
        (STORES, f"in the end every {obtain.PAUSES[-1] / 60:g} minutes"),
        ("## What survives what", f"up to {part.CHUNK >> 10} KiB come again"),
    ],
)
def test_a_number_of_the_page_is_that_of_the_code(heading, words):
    assert words in " ".join(PAGE.section(heading).split())


def test_more_numbers_of_the_page_are_those_of_the_code():
    assert Conduct().attempts == 6
    assert "Six attempts without progress" in PAGE.text
    assert updates.DAY == 86_400
    assert ledger.RETRY == 3600
    assert f"at most {LONGEST} characters" in PAGE.section("## Desired properties")
    assert module.TELEMETRY == 60
    assert forward.BACKOFF[0] == 2
    assert f"again within {sum(forward.BACKOFF):g} s" in PAGE.section("## States")


# -- the final report


def test_the_results_and_kinds_of_the_page_are_those_of_the_code():
    fields = {row[0]: row[1] for row in PAGE.table("field", "what it says")}
    assert set(re.findall(r"`(\w+)`", fields["`result`"])) == {result.value for result in Result}
    kinds = {
        kind
        for row in PAGE.table("kind of `error`", "what has failed")
        for kind in re.findall(r"`(\w+)`", row[0])
    }
    steps = {verb.value for verb in Verb} - {"obtain", "commit", "rollback", "cleanUp"}
    assert steps | {"download"} <= kinds
    sources = "".join(path.read_text() for path in Path(attempt.__file__).parent.glob("*.py"))
    literal = set(re.findall(r'(?:kind=|\.fail\(|refuse\()"(\w+)"', sources))
    assert literal - {"none"} <= kinds, literal - kinds
    assert "unhealthy" in kinds


# -- the rest of the page


def test_the_options_of_the_page_are_those_of_the_command():
    shown = {
        row[0].strip("`"): row for row in PAGE.table("option", "variable", "default", "meaning")
    }
    options = {one.opts[0]: one for one in ota.params if isinstance(one, click.Option)}
    assert shown.keys() == options.keys()
    for name, option in options.items():
        assert shown[name][1:3] == [f"`{option.envvar}`", f"`{option.default}`"]
    for name in ota.list_commands(None):
        assert f"`bordnetz ota {name}`" in PAGE.text


def test_the_exit_codes_of_the_page_are_those_of_every_module():
    codes = re.findall(r"^(\d+) {2,}\S", run.__doc__ or "", re.MULTILINE)
    assert [row[0] for row in PAGE.table("exit code", "in this module")] == codes


def test_the_verbs_of_an_installer_on_the_page_are_those_of_the_class():
    text = PAGE.section("## An installer of your own")
    abstract = Installer.__abstractmethods__ | {"base", "ready"}
    named = set(re.findall(r"`(\w+)`", text))
    assert abstract <= named
    for path in re.findall(r"`(modules/[\w/.]+)`", text):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:docs|tests)/[\w./]+)`", PAGE.text))))
def test_the_files_it_points_to_are_there(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w.]+)\)", PAGE.text))))
def test_the_pages_it_links_to_are_there(target):
    assert (DOCS / target).is_file()


def test_the_places_it_links_to_are_on_the_page():
    headings = re.findall(r"^##+ (.*)$", PAGE.text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE.text)) <= anchors
