"""`bordnetz manifest`: the project's own template, expansion, and every refusal with its place."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bordnetz.laptop.manifest import Manifest, ManifestError, load_template
from bordnetz.laptop.manifest.limits import (
    DEPTH,
    STRING_BYTES,
)

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deployment.template.json"
VARIABLES = {"CONTAINER_REGISTRY_SERVER": "registry.example"}
AGENT = "/modulesContent/$edgeAgent/properties.desired"
HUB = "/modulesContent/$edgeHub/properties.desired"

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def solution(tmp_path: Path) -> Path:
    """A copy of the template with its module.json, free to be spoiled."""
    (tmp_path / "modules/bordnetz").mkdir(parents=True)
    for name in ("deployment.template.json", "modules/bordnetz/module.json"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path / "deployment.template.json"


def edited(path: Path, edit: Edit) -> Path:
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree))
    return path


def problems(path: Path, **variables: str) -> dict[str, str]:
    with pytest.raises(ManifestError) as caught:
        load_template(path, VARIABLES | variables)
    found = {problem.place: problem.text for problem in caught.value.problems}
    for place, text in found.items():
        assert place in str(caught.value)
        assert text.splitlines()[0] in str(caught.value)
    return found


def agent(tree: dict[str, Any]) -> Any:
    return tree["modulesContent"]["$edgeAgent"]["properties.desired"]


def hub(tree: dict[str, Any]) -> Any:
    return tree["modulesContent"]["$edgeHub"]["properties.desired"]


def telemetry(tree: dict[str, Any]) -> Any:
    return agent(tree)["modules"]["telemetry"]


def desired(tree: dict[str, Any]) -> Any:
    return tree["modulesContent"]["telemetry"]["properties.desired"]


@pytest.fixture(scope="module")
def own() -> Manifest:
    return load_template(TEMPLATE, VARIABLES)


# The project's own template


def test_the_template_of_this_project_passes_every_check(own: Manifest) -> None:
    assert list(own.modules) == ["telemetry", "ota"]
    assert [(route.name, route.sink, route.priority) for route in own.routes] == [
        ("batches", None, 5),
        ("state", ("ota", "state"), 2),
        ("bundle", ("telemetry", "bundle"), 1),
        ("bundleAck", ("ota", "bundleAck"), 1),
        ("otaEvents", None, 1),
        ("manifests", None, 3),
    ]


@pytest.mark.parametrize(
    ("name", "module", "output"),
    [
        ("batches", "telemetry", "batches"),
        ("otaEvents", "ota", "events"),
        ("manifests", "ota", "manifest"),
    ],
)
def test_what_goes_to_the_cloud_waits_thirty_days_for_it(
    own: Manifest, name: str, module: str, output: str
) -> None:
    (route,) = [route for route in own.routes if route.name == name]
    assert route.time_to_live == 30 * 24 * 3600
    assert route.matches(module, output, {}, {}, b"")


def test_a_state_that_nobody_fetches_is_soon_forgotten(own: Manifest) -> None:
    (route,) = [route for route in own.routes if route.name == "state"]
    assert route.time_to_live == 30
    assert route.matches("telemetry", "state", {}, {}, b"")


@pytest.mark.parametrize("name", ["telemetry", "ota"])
def test_a_module_runs_the_projects_image_by_its_command(own: Manifest, name: str) -> None:
    spec = own.modules[name]
    assert spec.image.startswith("registry.example/bordnetz:")
    assert spec.image.endswith("-arm64v8")
    assert spec.create_options["Cmd"] == [name]
    assert (spec.status, spec.restart_policy) == ("running", "always")


WRITABLE = {
    "telemetry": ["/var/lib/bordnetz/telemetry:/var/lib/bordnetz"],
    "ota": [
        "/var/lib/bordnetz/bundles:/var/lib/bordnetz-bundles",
        "/var/lib/bordnetz/ota:/var/lib/bordnetz",
        "/run/dbus/system_bus_socket:/run/dbus/system_bus_socket",
        "/run/swupdate:/run/swupdate",
    ],
}


@pytest.mark.parametrize("name", WRITABLE)
def test_the_hosts_network_and_the_named_folders_are_all_that_is_granted(
    own: Manifest, name: str
) -> None:
    options = own.modules[name].create_options
    host = options["HostConfig"]
    assert host["NetworkMode"] == "host"
    assert options["NetworkingConfig"] == {"EndpointsConfig": {"host": {}}}
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not {"Privileged", "CapAdd", "Devices", "PidMode"} & host.keys()
    assert [bind for bind in host["Binds"] if not bind.endswith(":ro")] == WRITABLE[name]
    assert options["StopTimeout"] == 30
    assert host["LogConfig"]["Config"]["max-size"]


def test_what_a_module_exposes_stays_on_loopback_under_a_port_of_its_own(own: Manifest) -> None:
    addresses = [spec.env["BORDNETZ_METRICS_ADDRESS"] for spec in own.modules.values()]
    assert addresses == ["127.0.0.1:9601", "127.0.0.1:9602"]


def test_bundles_are_written_by_ota_and_read_by_telemetry(own: Manifest) -> None:
    binds = {
        name: [bind.split(":") for bind in spec.create_options["HostConfig"]["Binds"]]
        for name, spec in own.modules.items()
    }
    folder = own.modules["ota"].env["BORDNETZ_BUNDLES"]
    assert own.modules["telemetry"].env["BORDNETZ_BUNDLES"] == folder
    assert ["/var/lib/bordnetz/bundles", folder] in binds["ota"]
    assert ["/var/lib/bordnetz/bundles", folder, "ro"] in binds["telemetry"]


@pytest.mark.parametrize("name", ["telemetry", "ota"])
def test_a_modules_environment_names_places_that_are_mounted(own: Manifest, name: str) -> None:
    spec = own.modules[name]
    mounted = [bind.split(":")[1] for bind in spec.create_options["HostConfig"]["Binds"]]
    assert spec.env["BORDNETZ_STATE"] in mounted
    assert str(Path(spec.env["BORDNETZ_VEHICLE"]).parent) in mounted


# Expansion


def test_create_options_come_in_pieces_that_join_to_what_was_written(
    solution: Path,
) -> None:
    filler = {"Labels": {"text": "ä" * 100 + "x" * 700}}
    edited(solution, lambda tree: telemetry(tree)["settings"]["createOptions"].update(filler))
    manifest = load_template(solution, VARIABLES)
    settings = agent(manifest.deployment)["modules"]["telemetry"]["settings"]
    pieces = [settings[key] for key in sorted(settings) if key.startswith("createOptions")]
    assert list(settings) == [
        "image",
        "createOptions",
        *(f"createOptions{number:02}" for number in range(1, len(pieces))),
    ]
    assert len(pieces) > 3
    assert all(len(piece) == 512 for piece in pieces[:-1])
    assert len(pieces[-1]) <= 512
    assert json.loads("".join(pieces)) == manifest.modules["telemetry"].create_options


def test_the_deployment_has_no_template_left_in_it(own: Manifest) -> None:
    assert list(own.deployment) == ["modulesContent"]
    assert "${" not in json.dumps(own.deployment)


def test_the_deployment_fits_a_schema_written_beside_this_test(own: Manifest) -> None:
    schema = json.loads((Path(__file__).parent / "deployment.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(own.deployment, schema)
    spoiled = copy.deepcopy(own.deployment)
    agent(spoiled)["modules"]["telemetry"]["restartPolicy"] = "on-failure"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, schema)


def test_a_platform_can_be_named_in_the_image(solution: Path) -> None:
    def name_it(tree: dict[str, Any]) -> None:
        telemetry(tree)["settings"]["image"] = "${MODULES.bordnetz.arm64v8}"

    edited(solution, name_it)
    assert load_template(solution, VARIABLES).modules["telemetry"].image.endswith("-arm64v8")


def test_a_route_may_be_a_string(solution: Path) -> None:
    edited(solution, lambda tree: hub(tree)["routes"].update(batches="FROM /* INTO $upstream"))
    assert load_template(solution, VARIABLES).routes[0].source == "/*"


def test_modules_come_in_startup_order(solution: Path) -> None:
    def add(tree: dict[str, Any]) -> None:
        for name, order in [("late", 9), ("early", 0)]:
            agent(tree)["modules"][name] = {**telemetry(tree), "startupOrder": order}
            agent(tree)["modules"][name]["settings"] = {"image": "other"}

    edited(solution, add)
    assert list(load_template(solution, VARIABLES).modules) == [
        "early",
        "telemetry",
        "ota",
        "late",
    ]


# Refusals


def test_a_route_to_an_unknown_module_is_refused(solution: Path) -> None:
    text = "FROM /messages/modules/telemetry/* INTO BrokeredEndpoint('/modules/relais/inputs/in')"
    edited(solution, lambda tree: hub(tree)["routes"].update(more={"route": text}))
    assert problems(solution) == {
        f"{HUB}/routes/more/route": "INTO module 'relais', but the modules are 'ota', 'telemetry'"
    }


def test_a_route_from_an_unknown_module_is_refused(solution: Path) -> None:
    text = "FROM /messages/modules/telemetrie/* INTO $upstream"
    edited(solution, lambda tree: hub(tree)["routes"].update(more={"route": text}))
    assert problems(solution) == {
        f"{HUB}/routes/more/route": (
            "FROM module 'telemetrie', but the modules are 'ota', 'telemetry'"
        )
    }


def test_a_bad_route_is_refused_with_its_column(solution: Path) -> None:
    text = "FROM /messages/* WHERE priority = 5 INTO $upstream"
    edited(solution, lambda tree: hub(tree)["routes"].update(more={"route": text}))
    (found,) = problems(solution).items()
    assert found[0] == f"{HUB}/routes/more/route"
    assert found[1].startswith("column 33: '=' between text and a number")
    assert text in found[1]


def test_an_output_without_a_route_and_a_route_without_its_output_are_refused(
    solution: Path,
) -> None:
    text = "FROM /messages/modules/telemetry/outputs/batch INTO $upstream"
    edited(solution, lambda tree: hub(tree)["routes"].update(batches={"route": text}))
    found = problems(solution)
    assert "its outputs are batches, bundleAck, state" in found[f"{HUB}/routes/batches/route"]
    assert "Edge hub would drop all of its messages" in found[f"{HUB}/routes"]


def test_a_twin_over_32_kilobytes_is_refused(solution: Path) -> None:
    rules = [{"match": f"body.message_{number}.*"} for number in range(1200)]
    edited(solution, lambda tree: desired(tree).update(collect=rules))
    found = problems(solution)
    text = found["/modulesContent/telemetry/properties.desired"]
    assert "32768" in text
    assert "the largest part is 'collect'" in text


def test_the_deployment_itself_over_32_kilobytes_is_refused(solution: Path) -> None:
    def crowd(tree: dict[str, Any]) -> None:
        for number in range(30):
            agent(tree)["modules"][f"module{number}"] = {
                **telemetry(tree),
                "settings": {"image": "other"},
                "env": {"LIST": {"value": "x" * 1100}},
            }

    edited(solution, crowd)
    assert "the largest part is 'modules'" in problems(solution)[AGENT]


def test_create_options_over_4_kilobytes_are_refused(solution: Path) -> None:
    many = {"Labels": {f"label{number}": "x" * 100 for number in range(40)}}
    edited(solution, lambda tree: telemetry(tree)["settings"]["createOptions"].update(many))
    (found,) = problems(solution).items()
    assert found[0] == f"{AGENT}/modules/telemetry/settings/createOptions"
    assert "8 pieces of 512, 4096 in all" in found[1]


@pytest.mark.parametrize(
    ("edit", "place", "says"),
    [
        (
            lambda tree: telemetry(tree).update(restartPolicy="on-failure"),
            f"{AGENT}/modules/telemetry/restartPolicy",
            "Edge implements only 'always' and 'never'",
        ),
        (
            lambda tree: telemetry(tree).update(startupOrder=-1),
            f"{AGENT}/modules/telemetry/startupOrder",
            "greater than or equal to 0",
        ),
        (
            lambda tree: telemetry(tree).update(startupOrdre=1),
            f"{AGENT}/modules/telemetry/startupOrdre",
            "no such key",
        ),
        (
            lambda tree: telemetry(tree).pop("status"),
            f"{AGENT}/modules/telemetry/status",
            "is missing",
        ),
        (
            lambda tree: telemetry(tree).update(status="paused"),
            f"{AGENT}/modules/telemetry/status",
            "'running' or 'stopped'",
        ),
        (
            lambda tree: telemetry(tree).update(imagePullPolicy="always"),
            f"{AGENT}/modules/telemetry/imagePullPolicy",
            "'on-create' or 'never'",
        ),
        (
            lambda tree: telemetry(tree)["env"].update(LEVEL={"value": 5}),
            f"{AGENT}/modules/telemetry/env/LEVEL/value",
            "valid string, not 5",
        ),
        (
            lambda tree: telemetry(tree)["settings"].update(createOptions="{}"),
            f"{AGENT}/modules/telemetry/settings/createOptions",
            "makes the strings of it",
        ),
        (
            lambda tree: telemetry(tree)["settings"]["createOptions"].update(Cmd=["telemetrie"]),
            f"{AGENT}/modules/telemetry/settings/createOptions/Cmd",
            "must begin with what the image is to run: ota, telemetry",
        ),
        (
            lambda tree: telemetry(tree)["settings"].update(image=""),
            f"{AGENT}/modules/telemetry/settings/image",
            "at least 1 character",
        ),
        (
            lambda tree: agent(tree).update(schemaVersion="1.0"),
            f"{AGENT}/schemaVersion",
            "'1.1'",
        ),
        (
            lambda tree: agent(tree)["systemModules"].pop("edgeHub"),
            f"{AGENT}/systemModules/edgeHub",
            "is missing",
        ),
        (
            lambda tree: tree["modulesContent"].pop("$edgeHub"),
            HUB,
            "is missing",
        ),
        (
            lambda tree: hub(tree)["routes"]["batches"].update(priority=10),
            f"{HUB}/routes/batches/priority",
            "less than or equal to 9",
        ),
        (
            lambda tree: hub(tree)["routes"]["batches"].update(timeToLiveSecs="2592000"),
            f"{HUB}/routes/batches/timeToLiveSecs",
            "valid integer",
        ),
        (
            lambda tree: tree.update({"$schema-template": "1.0.0"}),
            "/$schema-template",
            "templates of version 4.0.0",
        ),
        (
            lambda tree: tree["modulesContent"].update(relay={"properties.desired": {}}),
            "/modulesContent/relay",
            "the modules are 'ota', 'telemetry'",
        ),
        (
            lambda tree: agent(tree)["modules"].update({"a+module": telemetry(tree)}),
            f"{AGENT}/modules/a+module",
            "letters, digits",
        ),
        (
            lambda tree: desired(tree).update({"batch.window": 10}),
            "/modulesContent/telemetry/properties.desired/batch.window",
            "none of '.', '$'",
        ),
        (
            lambda tree: desired(tree).update(note="x" * (STRING_BYTES + 1)),
            "/modulesContent/telemetry/properties.desired/note",
            "4096 in one",
        ),
        (
            lambda tree: desired(tree).update(number=2**52),
            "/modulesContent/telemetry/properties.desired/number",
            "4503599627370495",
        ),
        (
            lambda tree: telemetry(tree)["settings"].update(image="${MODULES.bordnets}"),
            f"{AGENT}/modules/telemetry/settings/image",
            "there are ${MODULES.bordnetz.arm64v8}, ${MODULES.bordnetz}",
        ),
        (
            lambda tree: telemetry(tree)["env"].update(WHO={"value": "${FLEET} ${TEAM}"}),
            f"{AGENT}/modules/telemetry/env/WHO/value",
            "--variable TEAM=VALUE",
        ),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(
    solution: Path, edit: Edit, place: str, says: str
) -> None:
    found = problems(edited(solution, edit))
    assert says in found[place]


def test_too_many_modules_are_refused(solution: Path) -> None:
    edited(
        solution,
        lambda tree: agent(tree)["modules"].update(
            {
                f"m{number}": {**telemetry(tree), "settings": {"image": "other"}, "env": {}}
                for number in range(50)
            }
        ),
    )
    assert problems(solution) == {f"{AGENT}/modules": "52 modules; a device can have 50"}


def test_depth_is_counted_as_iot_hub_does(solution: Path) -> None:
    def nest(levels: int) -> Any:
        return {"deeper": nest(levels - 1)} if levels else {"property": "value"}

    edited(solution, lambda tree: desired(tree).update(one=nest(DEPTH - 1)))
    load_template(solution, VARIABLES)
    edited(solution, lambda tree: desired(tree).update(one=nest(DEPTH)))
    place = "/modulesContent/telemetry/properties.desired/one" + "/deeper" * DEPTH
    assert problems(solution)[place] == "nested deeper than the 10 levels a twin holds"


def test_all_problems_are_told_at_once(solution: Path) -> None:
    def spoil(tree: dict[str, Any]) -> None:
        hub(tree)["routes"]["one"] = {"route": "FROM nowhere"}
        hub(tree)["routes"]["two"] = {"route": "FROM /* INTO nothing"}
        desired(tree)["a key"] = 1
        telemetry(tree)["env"]["X"] = {"value": "${MISSING}"}

    assert len(problems(edited(solution, spoil))) == 4


def test_an_image_without_a_registry_is_no_matter_until_it_is_deployed(solution: Path) -> None:
    manifest = load_template(solution)
    assert list(manifest.modules) == ["telemetry", "ota"]
    (problem,) = manifest.missing
    assert problem.place.endswith("modules/bordnetz/module.json: /image/repository")
    assert "CONTAINER_REGISTRY_SERVER" in problem.text
    assert not load_template(solution, VARIABLES).missing


@pytest.mark.parametrize(
    ("content", "place", "says"),
    [
        (b'{\n  // mine\n  "a": 1}', "line 2, column 3", "no comments"),
        (b'{"a": 1, /* mine */ "b": 2}', "line 1, column 10", "no comments"),
        (b'{"a": NaN}', "/", "NaN is no number in JSON"),
        (b'{"a": -1e400}', "/", "-1e400 is no number in JSON"),
        (b'{"a": 1,}', "line 1, column 8", "comma before a closing bracket"),
        (b'{"a": [1,]}', "line 1, column 9", "comma before a closing bracket"),
        (b'{"a": 1,, "b": 2}', "line 1, column 9", "not JSON"),
        (b'{"a": }', "line 1, column 7", "not JSON"),
        (b'{"a": 1, "a": 2}', "/", "'a' is twice"),
        (b"[]", "/", "must be a JSON object"),
        (b'{"a": "\xff"}', "/", "not UTF-8 at byte 7"),
        (b'{"a": ' * 100_000, "/", "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "/", "a number too long"),
        (b" " * 1_048_577, "/", "larger than"),
    ],
)
def test_a_file_that_is_no_template_is_refused_with_its_place(
    tmp_path: Path, content: bytes, place: str, says: str
) -> None:
    path = tmp_path / "deployment.template.json"
    path.write_bytes(content)
    found = problems(path)
    assert says in found[place]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "none.json")["/"]
