"""The verb ``bordnetz manifest``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from bordnetz.laptop.manifest.document import ManifestError
from bordnetz.laptop.manifest.load import PLATFORM, load_template


def _variables(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    del context, parameter
    variables: dict[str, str] = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"'{value}' is not NAME=VALUE")
        variables[name] = text
    return variables


_EPILOG = """\b
Deploy what comes out:
  bordnetz manifest --variable CONTAINER_REGISTRY_SERVER=registry.example -o deployment.json
  az iot edge set-modules --hub-name HUB --device-id DEVICE --content deployment.json
"""


@click.command(epilog=_EPILOG)
@click.argument(
    "template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default="deployment.template.json",
)
@click.option(
    "--platform",
    default=PLATFORM,
    show_default=True,
    help="Which of an image's platforms ${MODULES.name} stands for.",
)
@click.option(
    "--variable",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_variables,
    help="Value of ${NAME} in the template and in module.json; may be given again and again. "
    "Names not given here come from the environment.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the deployment here instead of to the terminal.",
)
def manifest(template: Path, platform: str, variables: dict[str, str], output: Path | None) -> None:
    """Make of a deployment TEMPLATE what IoT Hub takes, and check it.

    TEMPLATE is deployment.template.json unless you name another. ${MODULES.bordnetz} becomes
    the image that modules/bordnetz/module.json names, other ${NAME} their values, and
    createOptions the strings of at most 512 characters that a twin can hold.

    Checked are the keys and their kinds, the routes with their conditions, that every module and
    output a route names exists, that no output of ours is without a route, and the limits of
    twins (32 KB a section, depth 10, keys, strings, createOptions of 4 KB).  Every problem is
    named with its place; with one or more, nothing is written and the exit code is 1.
    """
    loaded = load_template(template, {**os.environ, **variables}, platform)
    if loaded.missing:
        raise ManifestError(template, list(loaded.missing))
    text = json.dumps(loaded.deployment, indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from error
    click.echo(
        f"{output}: modules {', '.join(loaded.modules) or 'none'}; every check passed",
        err=True,
    )
