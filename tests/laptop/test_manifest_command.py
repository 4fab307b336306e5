"""The verb, run as its user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "CONTAINER_REGISTRY_SERVER"}
    return subprocess.run(
        [sys.executable, "-m", "bordnetz", "manifest", *arguments],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_prints_what_iot_hub_takes() -> None:
    result = run("--variable", "CONTAINER_REGISTRY_SERVER=registry.example")
    assert result.returncode == 0, result.stderr
    deployment = json.loads(result.stdout)
    modules = deployment["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]
    assert modules["telemetry"]["settings"]["image"].startswith("registry.example/bordnetz:")
    assert isinstance(modules["telemetry"]["settings"]["createOptions"], str)


def test_a_variable_given_goes_before_the_environment(tmp_path: Path) -> None:
    output = tmp_path / "deployment.json"
    result = run("-o", str(output), CONTAINER_REGISTRY_SERVER="environment.example")
    assert result.returncode == 0, result.stderr
    assert "environment.example/bordnetz" in output.read_text()
    result = run(
        *("--variable", "CONTAINER_REGISTRY_SERVER=given.example"),
        CONTAINER_REGISTRY_SERVER="environment.example",
    )
    assert "given.example/bordnetz" in result.stdout
    assert "environment.example" not in result.stdout


def test_a_template_with_problems_writes_nothing_and_exits_1(tmp_path: Path) -> None:
    template = tmp_path / "deployment.template.json"
    template.write_text('{"$schema-template": "4.0.0", "modulesContent": {}}')
    output = tmp_path / "deployment.json"
    result = run(str(template), "-o", str(output))
    assert result.returncode == 1
    assert not output.exists()
    assert "2 problems" in result.stderr
    assert "/modulesContent/$edgeAgent/properties.desired: is missing" in result.stderr
    assert "/modulesContent/$edgeHub/properties.desired: is missing" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_image_without_a_registry_is_not_deployed(tmp_path: Path) -> None:
    output = tmp_path / "deployment.json"
    result = run("-o", str(output))
    assert result.returncode == 1
    assert not output.exists()
    assert "modules/bordnetz/module.json: /image/repository" in result.stderr
    assert "--variable CONTAINER_REGISTRY_SERVER=VALUE" in result.stderr


def test_a_platform_without_an_image_is_named() -> None:
    result = run("--platform", "amd64", CONTAINER_REGISTRY_SERVER="registry.example")
    assert result.returncode == 1
    assert "there are ${MODULES.bordnetz.arm64v8}" in result.stderr


def test_a_variable_without_a_value_is_refused() -> None:
    result = run("--variable", "NAME")
    assert result.returncode == 2
    assert "'NAME' is not NAME=VALUE" in result.stderr


def test_help_shows_how_to_deploy() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "az iot edge set-modules" in result.stdout
