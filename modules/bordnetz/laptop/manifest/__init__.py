"""The deployment template: expanded, checked, and made into what IoT Hub takes.

In the order a template goes: `document` reads the JSON and fills in the variables, `shape` says
which keys there are and of what kind, `limits` what a twin can hold, `load` joins them and asks
what no schema can (routes, names, sizes), `command` is the verb.

Problems are collected, not raised one by one; each names its place as a JSON pointer (RFC 6901).
"""

from bordnetz.laptop.manifest.document import ManifestError, Problem
from bordnetz.laptop.manifest.load import Manifest, ModuleSpec, load_template

__all__ = ["Manifest", "ManifestError", "ModuleSpec", "Problem", "load_template"]
