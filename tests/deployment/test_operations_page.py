"""docs/operations.md against the code it speaks of."""

import json
import re
import shlex

import pytest
from image import ROOT

from bordnetz.cli import VERBS
from bordnetz.edge import environment, run, settings
from bordnetz.edge.environment import Environment
from bordnetz.laptop.manifest import load_template
from bordnetz.laptop.manifest.load import OUTPUTS
from bordnetz.ota.config import Desired as Updates
from bordnetz.telemetry import messages
from bordnetz.telemetry.config import Desired

PAGE = (ROOT / "docs/operations.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("az ")
]


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the table whose first heading is given, by their first cell."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def section(heading: str) -> str:
    """The text below a heading, down to the next one."""
    return re.split(r"\n##+ ", PAGE.split(f"\n{heading}\n")[1])[0]


def test_it_explains_every_exit_code_of_a_module() -> None:
    codes = re.findall(r"^(\d+) {2,}\S", run.__doc__ or "", re.MULTILINE)
    assert len(codes) >= 5
    assert list(table("exit code")) == codes


def test_it_lists_every_variable_with_its_default() -> None:
    rows = table("variable")
    plain = Environment()
    assert rows[environment.STATE][0] == str(plain.state)
    assert rows[environment.OUTBOX_BYTES][0] == str(plain.outbox_bytes)
    assert rows[environment.METRICS_ADDRESS][0] == f"{plain.metrics_host}:{plain.metrics_port}"
    assert rows[environment.LOG_LEVEL][0] == plain.log_level
    assert rows[settings.KEEP_ALIVE][0] == str(plain.link.keep_alive)
    assert rows[settings.PROOF][0] == str(plain.link.proof)
    assert rows[settings.PATIENCE][0] == str(plain.link.patience)
    assert rows[settings.BYTES][0] == str(plain.link.ceiling.bytes)
    assert rows[settings.MESSAGES][0] == str(plain.link.ceiling.messages)
    assert rows[settings.FLOOR_BYTES][0] == f"{plain.link.floor.bytes:g}"
    assert settings.METRICS in rows


def test_the_deployment_fits_the_page() -> None:
    manifest = load_template(
        ROOT / "deployment.template.json", {"CONTAINER_REGISTRY_SERVER": "registry.example"}
    )
    for spec in manifest.modules.values():
        options = spec.create_options
        assert table("setting")["StopTimeout"][0] == f"{options['StopTimeout']} s"
        log = options["HostConfig"]["LogConfig"]["Config"]
        assert log == {"max-size": "4m", "max-file": "3"}
        assert table("setting")["log"][0] == "3 files of 4 MB"
        for bind in options["HostConfig"]["Binds"]:
            assert f"`{bind.split(':')[0]}`" in section("### Folders and sockets of the host"), bind
    for route in manifest.routes:
        shown, ttl = f"priority {route.priority}", route.time_to_live
        if ttl is not None:
            shown += f", {ttl // 86_400} days" if ttl >= 86_400 else f", {ttl} s"
        assert table("setting")[f"route `{route.name}"][0] == shown


def test_the_outputs_that_routes_are_checked_against_are_those_of_the_modules() -> None:
    ours = {messages.OUTPUT, messages.STATE_OUTPUT, messages.ACK_OUTPUT}
    assert OUTPUTS["telemetry"] == ours
    assert OUTPUTS.keys() <= VERBS.keys()


def test_what_the_template_configures_is_what_telemetry_takes() -> None:
    manifest = load_template(
        ROOT / "deployment.template.json", {"CONTAINER_REGISTRY_SERVER": "registry.example"}
    )
    desired = Desired.model_validate(manifest.modules["telemetry"].desired)
    assert desired.model_dump(by_alias=True).keys() == manifest.modules["telemetry"].desired.keys()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda line: " ".join(line.split()[:4]))
def test_json_in_a_command_survives_the_shell(command: str) -> None:
    for argument in shlex.split(command):
        if argument.startswith("{"):
            assert isinstance(json.loads(argument), dict)


def test_the_twins_of_the_page_are_what_the_modules_take() -> None:
    updates = [shlex.split(line) for line in COMMANDS if "module-twin update" in line]
    given = {
        words[words.index("--module-id") + 1]: words[words.index("--desired") + 1]
        for words in updates
    }
    assert len(Desired.model_validate_json(given["telemetry"]).collect) == 2
    campaign = Updates.model_validate_json(given["ota"]).campaign
    assert campaign is not None
    assert campaign.id == "maps-in-spring"
