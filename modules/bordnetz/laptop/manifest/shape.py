"""Which keys a template has and of what kind their values are, after its variables are filled in.

Sources: IoT Edge's properties of $edgeAgent and $edgeHub, schema version 1.1; template schema
4.0.0.  A key that is not here is refused, since Edge would ignore a misspelt one without a word.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bordnetz.laptop.routes import DEFAULT_PRIORITY


class Shape(BaseModel):
    """Takes exactly the keys it names, and converts nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Variable(Shape):
    """The value of one environment variable."""

    value: str


class Settings(Shape):
    """What to run.

    Attributes:
        image: The image with its tag or digest.
        create_options: As Docker's API takes them to create a container; an object here.
    """

    image: Annotated[str, Field(min_length=1)]
    create_options: Annotated[dict[str, Any], Field(alias="createOptions")] = {}


_Pull = Literal["on-create", "never"]
_Order = Annotated[int, Field(ge=0, le=4_294_967_295)]
_Environment = dict[str, Variable]


class AgentContainer(Shape):
    """The container of Edge agent, which nobody restarts but the host's daemon."""

    type: Literal["docker"]
    settings: Settings
    env: _Environment = {}
    image_pull_policy: Annotated[_Pull, Field(alias="imagePullPolicy")] = "on-create"


class Container(AgentContainer):
    """The container of a module."""

    version: str = ""
    status: Literal["running", "stopped"]
    restart_policy: Annotated[Literal["always", "never"], Field(alias="restartPolicy")]
    startup_order: Annotated[_Order, Field(alias="startupOrder")] = 4_294_967_295


class Credentials(Shape):
    """How to log in to a registry."""

    address: str
    username: str
    password: str


class RuntimeSettings(Shape):
    """The host's container engine."""

    min_docker_version: Annotated[str, Field(alias="minDockerVersion")]
    logging_options: Annotated[str, Field(alias="loggingOptions")] = ""
    registry_credentials: Annotated[dict[str, Credentials], Field(alias="registryCredentials")] = {}


class Runtime(Shape):
    """What the modules run on."""

    type: Literal["docker"]
    settings: RuntimeSettings


class SystemModules(Shape):
    """The two modules that make a device an Edge device."""

    edge_agent: Annotated[AgentContainer, Field(alias="edgeAgent")]
    edge_hub: Annotated[Container, Field(alias="edgeHub")]


class AgentDesired(Shape):
    """Desired properties of $edgeAgent."""

    schema_version: Annotated[Literal["1.1"], Field(alias="schemaVersion")]
    runtime: Runtime
    system_modules: Annotated[SystemModules, Field(alias="systemModules")]
    modules: dict[str, Container]


class RouteObject(Shape):
    """A route with its priority and the seconds a message may wait; a string is the route alone."""

    route: str
    priority: Annotated[int, Field(ge=0, le=9)] = DEFAULT_PRIORITY
    time_to_live: Annotated[int, Field(alias="timeToLiveSecs", ge=0, le=4_294_967_295)] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"route": value} if isinstance(value, str) else value


class StoreAndForward(Shape):
    """How long Edge hub keeps what it cannot send."""

    time_to_live: Annotated[int, Field(alias="timeToLiveSecs", ge=-1, le=2_147_483_647)]


class HubDesired(Shape):
    """Desired properties of $edgeHub."""

    schema_version: Annotated[Literal["1.1"], Field(alias="schemaVersion")]
    routes: dict[str, RouteObject]
    store_and_forward: Annotated[StoreAndForward, Field(alias="storeAndForwardConfiguration")]


class Template(Shape):
    """The whole file; the twins are looked at one by one."""

    schema_template: Annotated[Literal["4.0.0"], Field(alias="$schema-template")]
    modules_content: Annotated[dict[str, Any], Field(alias="modulesContent")]


class Agent(Shape):
    """The twin of $edgeAgent."""

    desired: Annotated[AgentDesired, Field(alias="properties.desired")]


class Hub(Shape):
    """The twin of $edgeHub."""

    desired: Annotated[HubDesired, Field(alias="properties.desired")]


class ModuleTwin(Shape):
    """The twin of a module: its whole desired section."""

    desired: Annotated[dict[str, Any], Field(alias="properties.desired")]


class Tag(Shape):
    """The tag of an image, and its Dockerfile by platform."""

    version: Annotated[str, Field(min_length=1)]
    platforms: Annotated[dict[str, str], Field(min_length=1)]


class ModuleImage(Shape):
    """``image`` of a module.json."""

    repository: Annotated[str, Field(min_length=1)]
    tag: Tag
    build_options: Annotated[list[str], Field(alias="buildOptions")] = []
    context_path: Annotated[str, Field(alias="contextPath")] = "./"


class ModuleFile(Shape):
    """A module.json, version 0.0.1."""

    schema_version: Annotated[Literal["0.0.1"], Field(alias="$schema-version")]
    description: str = ""
    image: ModuleImage
    language: str = ""
