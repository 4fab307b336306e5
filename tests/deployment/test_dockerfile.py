"""What the Dockerfile promises, as far as it can be seen without a container engine."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from image import PYTHON, ROOT, ImageError, blocks, built_from_source, install, instructions

from bordnetz.laptop.manifest import load_template

TEXT = (ROOT / "Dockerfile.arm64v8").read_text()
STAGES = [instructions("FROM " + stage) for stage in TEXT.split("\nFROM ")[1:]]
PINS = blocks((ROOT / "requirements/run.txt").read_text())


def arguments(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def environment() -> dict[str, str]:
    (text,) = arguments(STAGES[-1], "ENV")
    return dict(pair.split("=", 1) for pair in text.split())


def test_everything_copied_is_there_and_not_ignored() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = [
        rest.split()[0]
        for stage in STAGES
        for rest in arguments(stage, "COPY")
        if not rest.startswith("--from=")
    ]
    assert set(copied) == allowed
    for source in copied:
        assert (ROOT / source).exists(), source


def test_the_last_stage_takes_its_files_from_the_first_alone() -> None:
    assert all(rest.startswith("--from=build ") for rest in arguments(STAGES[-1], "COPY"))
    assert not arguments(STAGES[-1], "RUN")
    assert not [rest for stage in STAGES for rest in arguments(stage, "ADD")]


def test_nothing_without_a_hash_is_fetched() -> None:
    text = " ".join(rest for stage in STAGES for rest in arguments(stage, "RUN"))
    commands = [
        part for part in re.split(r"&&", text) if re.search(r"pip\b.* (wheel|install) ", part)
    ]
    assert len(commands) == 2
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command
    assert "--no-build-isolation" in commands[0]


def test_only_named_pins_are_built_from_source() -> None:
    assert built_from_source(TEXT) == {"paho-mqtt"}
    assert built_from_source(TEXT) <= PINS.keys()


def test_what_only_a_laptop_needs_is_not_in_the_image() -> None:
    assert not {"rich", "detools", "azure-storage-blob", "pytest", "grpcio-tools"} & PINS.keys()


def test_the_image_runs_as_nobody_in_particular_with_one_volume_for_its_state() -> None:
    last = STAGES[-1]
    assert arguments(last, "USER") == ["10001:10001"]
    assert arguments(last, "VOLUME") == ["/var/lib/bordnetz"]
    assert environment()["BORDNETZ_STATE"] == "/var/lib/bordnetz"
    # Mounted where there is a module that writes it, so no volume of the image's own.
    assert environment()["BORDNETZ_BUNDLES"] == "/var/lib/bordnetz-bundles"
    assert arguments(last, "STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(arguments(last, "ENTRYPOINT")[0]) == ["bordnetz"]


def test_the_vehicle_in_the_image_is_the_demo() -> None:
    (copied,) = [rest for rest in arguments(STAGES[0], "COPY") if rest.startswith("dbc ")]
    target = copied.split()[1]
    vehicle = environment()["BORDNETZ_VEHICLE"]
    assert vehicle.startswith(target + "/")
    assert (ROOT / "dbc" / vehicle.removeprefix(target + "/")).is_file()


def test_the_deployment_sets_what_the_image_leaves_open() -> None:
    manifest = load_template(
        ROOT / "deployment.template.json", {"CONTAINER_REGISTRY_SERVER": "registry.example"}
    )
    for spec in manifest.modules.values():
        assert spec.env.keys() <= {name for name in environment() if name.startswith("BORDNETZ_")}
    module = json.loads((ROOT / "modules/bordnetz/module.json").read_text())
    folder = ROOT / "modules/bordnetz"
    for dockerfile in module["image"]["tag"]["platforms"].values():
        assert (folder / dockerfile).resolve() == ROOT / "Dockerfile.arm64v8"
    assert (folder / module["image"]["contextPath"]).resolve() == ROOT


def test_image_and_package_have_one_version_and_one_python() -> None:
    from bordnetz import __version__

    module = json.loads((ROOT / "modules/bordnetz/module.json").read_text())
    assert module["image"]["tag"]["version"] == __version__
    version = ".".join(map(str, PYTHON))
    assert f"python:{version}-" in TEXT
    assert set(re.findall(r"lib/python(3\.\d+)/", TEXT)) == {version}


def healthcheck(address: str) -> int:
    (text,) = arguments(STAGES[-1], "HEALTHCHECK")
    program, *rest = json.loads(text[text.index("[") :])
    assert program.endswith("/bin/python")
    return subprocess.run(
        [sys.executable, *rest],
        env={"BORDNETZ_METRICS_ADDRESS": address},
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


@contextmanager
def answering(status: int, asked: list[str]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_healthcheck_tells_what_the_module_answers(status: int, code: int) -> None:
    asked: list[str] = []
    with answering(status, asked) as address:
        assert healthcheck(address) == code
    assert asked == ["/health"]


def test_the_healthcheck_fails_where_nobody_answers() -> None:
    with answering(200, []) as address:
        pass
    assert healthcheck(address) == 1


def test_what_pip_refuses_is_told_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="Invalid requirement"):
        install(["click 8"], tmp_path / "target", for_arm64=True)
