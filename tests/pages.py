"""A page of docs/ and its DTDL model, taken apart for the tests that hold them to the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# DTDL v3, "Digital Twin Model Identifier" and the metamodel's name rule.
DTMI = re.compile(
    r"dtmi:[A-Za-z](?:\w*[A-Za-z0-9])?(?::[A-Za-z](?:\w*[A-Za-z0-9])?)*;[1-9]\d{0,8}", re.ASCII
)
NAME = re.compile(r"[A-Za-z](?:\w{0,510}[A-Za-z0-9])?", re.ASCII)
PRIMITIVE = {"boolean", "double", "integer", "long", "string"}
DEEPEST = 8
"""Levels of nested schemas in a model (DTDL v3)."""

LEFT_OUT, NULL = "may be left out", "may be null"
"""In a field's description: what DTDL has no word for."""


class Page:
    """The text of a page."""

    def __init__(self, name: str) -> None:
        self.text = (DOCS / name).read_text()

    def section(self, heading: str) -> str:
        """What stands below a heading, down to the next one of any level."""
        return re.split(r"\n##+ ", self.text.split(f"\n{heading}\n")[1])[0]

    def section_of(self, heading: str) -> str:
        """What stands below a heading of the second level, with all below it."""
        return re.split(r"\n## ", self.text.split(f"\n{heading}\n")[1])[0]

    def table(self, *headings: str) -> list[list[str]]:
        """Rows of the one table with these headings."""
        head = "| " + " | ".join(headings) + " |\n"
        assert self.text.count(head) == 1, head
        lines = self.text[self.text.index(head) :].split("\n\n")[0].splitlines()[2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    def tables(self, *headings: str) -> list[list[list[str]]]:
        """All tables with these headings, in their order."""
        head = "| " + " | ".join(headings) + " |\n"
        found = []
        for part in self.text.split(head)[1:]:
            lines = part.split("\n\n")[0].splitlines()[1:]
            found.append([[cell.strip() for cell in line.strip("|").split("|")] for line in lines])
        return found

    def blocks(self, language: str, heading: str = "") -> list[str]:
        """Code blocks of a language, of a section or of all the page."""
        text = self.section(heading) if heading else self.text
        return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)

    def examples(self, heading: str) -> list[Any]:
        """JSON of a section."""
        return [json.loads(text) for text in self.blocks("json", heading)]


class Model:
    """A DTDL model."""

    def __init__(self, name: str) -> None:
        self.content: dict[str, Any] = json.loads((DOCS / name).read_text())
        self.schemas = {schema["@id"]: schema for schema in self.content["schemas"]}

    def contents(self, kind: str, **more: Any) -> dict[str, dict[str, Any]]:
        return {
            one["name"]: one
            for one in self.content["contents"]
            if one["@type"] == kind and all(one.get(k, False) == v for k, v in more.items())
        }

    def resolved(self, schema: Any) -> Any:
        return self.schemas.get(schema, schema) if isinstance(schema, str) else schema

    def check(self) -> None:
        """It is one that DTDL v3 allows."""
        assert self.content["@context"] == "dtmi:dtdl:context;3"
        assert self.content["@type"] == "Interface"
        for identity in (self.content["@id"], *self.schemas):
            assert DTMI.fullmatch(identity), identity
            assert len(identity) <= 2048
        names = [one["name"] for one in self.content["contents"]]
        assert len(set(names)) == len(names)
        allowed = {
            "Property": {"@type", "name", "description", "writable", "schema"},
            "Command": {"@type", "name", "description", "request", "response"},
        }
        for one in self.content["contents"]:
            assert NAME.fullmatch(one["name"])
            assert one.keys() <= allowed[one["@type"]]
            assert len(one.get("description", "")) <= 512
            schemas = [one["schema"]] if one["@type"] == "Property" else []
            for payload in (one.get("request"), one.get("response")):
                if payload is not None:
                    assert NAME.fullmatch(payload["name"])
                    schemas.append(payload["schema"])
            for schema in schemas:
                self._check(schema)
        for schema in self.schemas.values():
            self._check(schema)

    def fits(self, value: Any, schema: Any, where: str = "$") -> None:
        """A JSON value is what a schema says, with what its descriptions allow."""
        schema = self.resolved(schema)
        if schema == "string":
            assert isinstance(value, str), where
        elif schema == "boolean":
            assert isinstance(value, bool), where
        elif schema in ("integer", "long"):
            assert type(value) is int, where
            assert abs(value) < 2 ** (31 if schema == "integer" else 63), where
        elif schema == "double":
            assert type(value) in (int, float), where
        elif schema["@type"] == "Enum":
            assert value in [one["enumValue"] for one in schema["enumValues"]], (where, value)
        elif schema["@type"] == "Array":
            for item in value:
                self.fits(item, schema["elementSchema"], f"{where}[]")
        elif schema["@type"] == "Map":
            for key, item in value.items():
                self.fits(item, schema["mapValue"]["schema"], f"{where}.{key}")
        else:
            fields = {field["name"]: field for field in schema["fields"]}
            assert value.keys() <= fields.keys(), (where, value.keys() - fields.keys())
            for name, field in fields.items():
                words = field.get("description", "")
                if name not in value:
                    assert LEFT_OUT in words or "left out in the twin" in words, f"{where}.{name}"
                elif not (value[name] is None and NULL in words):
                    self.fits(value[name], field["schema"], f"{where}.{name}")

    def _check(self, schema: Any, depth: int = 1) -> None:
        assert depth <= DEEPEST
        if isinstance(schema, str):
            assert schema in PRIMITIVE or schema in self.schemas, schema
            if schema in self.schemas:
                self._check(self.schemas[schema], depth)
            return
        kind = schema["@type"]
        if kind == "Array":
            self._check(schema["elementSchema"], depth + 1)
        elif kind == "Map":
            assert schema["mapKey"]["schema"] == "string"
            for part in ("mapKey", "mapValue"):
                assert NAME.fullmatch(schema[part]["name"])
            self._check(schema["mapValue"]["schema"], depth + 1)
        elif kind == "Enum":
            assert schema["valueSchema"] == "string"
            names = [value["name"] for value in schema["enumValues"]]
            assert len(set(names)) == len(names)
            assert all(NAME.fullmatch(name) for name in names)
            assert all(isinstance(value["enumValue"], str) for value in schema["enumValues"])
        else:
            assert kind == "Object"
            names = [field["name"] for field in schema["fields"]]
            assert names
            assert len(set(names)) == len(names)
            for field in schema["fields"]:
                assert NAME.fullmatch(field["name"])
                assert len(field.get("description", "")) <= 512
                self._check(field["schema"], depth + 1)
