"""Joins a template with its module.json files and asks of it what no schema can."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bordnetz.laptop.manifest.document import ManifestError, Problem, expand, pointer, read_json
from bordnetz.laptop.manifest.limits import check_section
from bordnetz.laptop.manifest.shape import (
    Agent,
    Container,
    Hub,
    ModuleFile,
    ModuleTwin,
    Shape,
    Template,
)
from bordnetz.laptop.routes import Route, RouteError, parse_route

PLATFORM = "arm64v8"
"""Of the head unit, and of the one Dockerfile there is."""

PIECE = 512
"""Characters of one piece of createOptions (IoT Edge, module create options in the twin)."""

PIECES = 8
"""createOptions, createOptions01 ... createOptions07."""

MAX_MODULES = 50
"""Modules on one device (IoT Hub, quotas and throttling)."""

OUTPUTS = {
    "ota": frozenset({"bundle", "events", "manifest"}),
    "telemetry": frozenset({"batches", "bundleAck", "state"}),
}
"""Outputs of our own modules by command; of other images nothing is known."""

_AGENT, _HUB, _DESIRED = "$edgeAgent", "$edgeHub", "properties.desired"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ADVICE = {
    "restartPolicy": "Edge implements only 'always' and 'never'; "
    "it takes 'on-failure' and 'on-unhealthy' and does nothing",
    "createOptions": "write an object; 'bordnetz manifest' makes the strings of it",
    "$schema-template": "this reads templates of version 4.0.0",
}


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One module of a deployment; the system modules are not among them.

    Attributes:
        name: As in the identity, so as in routes and twins.
        image: Repository and tag.
        env: Environment variables.
        desired: The desired section of its twin; {} where the deployment gives none.
        create_options: As Docker's API takes them.
        startup_order: Lowest first; modules of one order start together.
        status: "running" or "stopped".
        restart_policy: "always" or "never".
    """

    name: str
    image: str
    env: dict[str, str]
    desired: dict[str, Any]
    create_options: dict[str, Any]
    startup_order: int
    status: str
    restart_policy: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A template that passed every check.

    Attributes:
        modules: By name, in startup order.
        routes: In the order of the file.
        store_and_forward_ttl: Seconds Edge hub keeps a message whose route says nothing; -1 keeps
            it for ever.
        deployment: What the portal and ``az iot edge set-modules`` take, once nothing is missing.
        missing: Variables without a value in the names of images: on a laptop, where no image is
            run, that is no matter; a deployment must not have any.
    """

    modules: dict[str, ModuleSpec]
    routes: tuple[Route, ...]
    store_and_forward_ttl: int
    deployment: dict[str, Any]
    missing: tuple[Problem, ...] = ()


def load_template(
    path: Path, variables: Mapping[str, str] | None = None, platform: str = PLATFORM
) -> Manifest:
    """Expand and check a deployment template.

    Args:
        path: The template; ``modules/*/module.json`` beside it name the images.
        variables: Values of the ``${VARIABLE}`` in it and in the module.json files.
        platform: Which of an image's platforms ``${MODULES.name}`` means.

    Raises:
        ManifestError: With all problems, each with its place.
    """
    tree = read_json(path)
    problems: list[Problem] = []
    given = dict(variables or {})
    missing: list[Problem] = []
    images = _images(path.parent, given, platform, problems, missing)
    tree, unknown = expand(tree, given | images)
    problems += unknown
    template = _read(Template, tree, problems)
    if template is None:
        raise ManifestError(path, problems)
    content = template.modules_content
    where = ("modulesContent",)
    agent = _read(Agent, content.get(_AGENT, {}), problems, *where, _AGENT)
    hub = _read(Hub, content.get(_HUB, {}), problems, *where, _HUB)
    twins = {
        name: _read(ModuleTwin, twin, problems, *where, name)
        for name, twin in content.items()
        if name not in (_AGENT, _HUB)
    }
    if agent is None or hub is None:
        raise ManifestError(path, problems)

    containers = agent.desired.modules
    problems += _check_names(containers, twins)
    deployment = _deployment(tree, problems)
    for name, twin in deployment["modulesContent"].items():
        if isinstance(twin, dict) and isinstance(section := twin.get(_DESIRED), dict):
            problems += check_section(section, *where, name, _DESIRED)
    routes = tuple(_routes(hub, containers, problems))
    ours = {image for name, image in images.items() if name.split(".")[1] == "bordnetz"}
    problems += _check_outputs(containers, ours, routes)
    if problems:
        raise ManifestError(path, problems)
    modules = {
        name: ModuleSpec(
            name=name,
            image=container.settings.image,
            env={key: variable.value for key, variable in container.env.items()},
            desired=twin.desired if (twin := twins.get(name)) else {},
            create_options=container.settings.create_options,
            startup_order=container.startup_order,
            status=container.status,
            restart_policy=container.restart_policy,
        )
        for name, container in sorted(containers.items(), key=lambda item: item[1].startup_order)
    }
    ttl = hub.desired.store_and_forward.time_to_live
    return Manifest(modules, routes, ttl, deployment, tuple(missing))


_Model = TypeVar("_Model", bound=Shape)


def _read(
    model: type[_Model], value: Any, problems: list[Problem], *steps: str | int
) -> _Model | None:
    """``value`` as a model, or None and why not."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            place = (*steps, *detail["loc"])
            text = detail["msg"]
            if detail["type"] == "extra_forbidden":
                text = "no such key in this place; Edge would ignore it"
            elif detail["type"] == "missing":
                text = "is missing"
            elif isinstance(detail["input"], str | int | float):
                text += f", not {detail['input']!r:.80}"
            advice = _ADVICE.get(str(place[-1])) if place else None
            problems.append(Problem(pointer(*place), f"{text}; {advice}" if advice else text))
        return None


def _images(
    folder: Path,
    variables: Mapping[str, str],
    platform: str,
    problems: list[Problem],
    missing: list[Problem],
) -> dict[str, str]:
    """``MODULES.name`` and ``MODULES.name.platform`` of every module.json."""
    images: dict[str, str] = {}
    for path in sorted(folder.glob("modules/*/module.json")):
        name = path.parent.name
        found: list[Problem] = []
        tree, unknown = expand(read_json(path), variables)
        module = _read(ModuleFile, tree, found)
        for these, whole in ((found, problems), (unknown, missing)):
            whole += [Problem(f"{path}: {problem.place}", problem.text) for problem in these]
        if module is None:
            continue
        for each in module.image.tag.platforms:
            image = f"{module.image.repository}:{module.image.tag.version}-{each}"
            images[f"MODULES.{name}.{each}"] = image
            if each == platform:
                images[f"MODULES.{name}"] = image
    return images


def _check_names(
    containers: Mapping[str, Container], twins: Mapping[str, ModuleTwin | None]
) -> Iterator[Problem]:
    place = ("modulesContent", _AGENT, _DESIRED, "modules")
    if len(containers) > MAX_MODULES:
        yield Problem(
            pointer(*place), f"{len(containers)} modules; a device can have {MAX_MODULES}"
        )
    for name in containers:
        if not _NAME.fullmatch(name):
            yield Problem(
                pointer(*place, name),
                "a module's name is 1 to 128 letters, digits, '-' and '_' of ASCII",
            )
    for name in twins:
        if name not in containers:
            yield Problem(
                pointer("modulesContent", name),
                f"a twin for '{name}', but {_there_are(containers)}",
            )


def _there_are(containers: Mapping[str, Container]) -> str:
    names = ", ".join(f"'{name}'" for name in sorted(containers))
    return f"the modules are {names}" if names else "there are no modules"


def _routes(
    hub: Hub, containers: Mapping[str, Container], problems: list[Problem]
) -> Iterator[Route]:
    for name, given in hub.desired.routes.items():
        place = pointer("modulesContent", _HUB, _DESIRED, "routes", name, "route")
        try:
            route = parse_route(name, given.route, given.priority, given.time_to_live)
        except RouteError as error:
            problems.append(Problem(place, str(error)))
            continue
        if route.source_module is not None and route.source_module not in containers:
            problems.append(
                Problem(place, f"FROM module '{route.source_module}', but {_there_are(containers)}")
            )
        if route.sink is not None and route.sink[0] not in containers:
            problems.append(
                Problem(place, f"INTO module '{route.sink[0]}', but {_there_are(containers)}")
            )
        yield route


def _check_outputs(
    containers: Mapping[str, Container], ours: Collection[str], routes: Collection[Route]
) -> Iterator[Problem]:
    """Edge hub drops what no route takes without a word, so a misspelt output costs everything."""
    place = ("modulesContent", _HUB, _DESIRED, "routes")
    for module, container in containers.items():
        if container.settings.image not in ours:
            continue
        command = container.settings.create_options.get("Cmd")
        verb = command[0] if isinstance(command, list) and command else None
        if not isinstance(verb, str) or verb not in OUTPUTS:
            yield Problem(
                pointer("modulesContent", _AGENT, _DESIRED, "modules", module, "settings")
                + "/createOptions/Cmd",
                f"must begin with what the image is to run: {', '.join(OUTPUTS)}",
            )
            continue
        outputs = OUTPUTS[verb]
        for route in routes:
            output = route.source_output
            if route.source_module == module and output is not None and output not in outputs:
                yield Problem(
                    pointer(*place, route.name, "route"),
                    f"FROM output '{output}' of '{module}', "
                    f"but its outputs are {', '.join(sorted(outputs))}",
                )
        for output in sorted(outputs):
            if not any(route.covers(module, output) for route in routes):
                yield Problem(
                    pointer(*place),
                    f"no route takes output '{output}' of '{module}', "
                    "so Edge hub would drop all of its messages",
                )


def _deployment(tree: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """The expanded template in the form IoT Hub takes: createOptions as strings in pieces."""
    content = copy.deepcopy(tree["modulesContent"])
    place = ("modulesContent", _AGENT, _DESIRED)
    desired = content[_AGENT][_DESIRED]
    for kind in ("systemModules", "modules"):
        for name, module in desired[kind].items():
            settings = module["settings"]
            text = json.dumps(settings.pop("createOptions", {}), separators=(",", ":"))
            if len(text) > PIECE * PIECES:
                problems.append(
                    Problem(
                        pointer(*place, kind, name, "settings", "createOptions"),
                        f"{len(text)} characters as text, but a twin takes {PIECES} pieces of "
                        f"{PIECE}, {PIECE * PIECES} in all; move what the image can hold into "
                        "its Dockerfile",
                    )
                )
                continue
            for start in range(0, len(text), PIECE):
                number = start // PIECE
                key = f"createOptions{number:02}" if number else "createOptions"
                settings[key] = text[start : start + PIECE]
    return {"modulesContent": content}
