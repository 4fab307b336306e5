"""A template spoiled at random is a manifest or an error for the operator, never a crash."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bordnetz.laptop.manifest import ManifestError, load_template

ROOT = Path(__file__).parents[2]
TREE = json.loads((ROOT / "deployment.template.json").read_text())


def places(node: Any, *steps: str | int) -> list[tuple[str | int, ...]]:
    inside = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [steps, *(place for key, item in inside for place in places(item, *steps, key))]


PLACES = [place for place in places(TREE) if place]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["${", "${}", "${MODULES.bordnetz}", "${MODULES}", "\ud800", "x" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def replaced(node: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a tree with another value at one place, if the place is still there."""
    if not place:
        return value
    first, rest = place[0], place[1:]
    if isinstance(node, dict) and first in node:
        return {**node, first: replaced(node[first], rest, value)}
    if isinstance(node, list) and isinstance(first, int) and first < len(node):
        return [*node[:first], replaced(node[first], rest, value), *node[first + 1 :]]
    return node


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_a_spoiled_template_is_told_and_not_tripped_over(
    tmp_path: Path, changes: list[tuple[tuple[str | int, ...], Any]]
) -> None:
    tree = TREE
    for place, value in changes:
        tree = replaced(tree, place, value)
    (tmp_path / "modules/bordnetz").mkdir(parents=True, exist_ok=True)
    module = (ROOT / "modules/bordnetz/module.json").read_text()
    (tmp_path / "modules/bordnetz/module.json").write_text(module)
    path = tmp_path / "deployment.template.json"
    path.write_text(json.dumps(tree))
    try:
        manifest = load_template(path)
    except ManifestError as error:
        problems = error.problems
    else:
        assert json.loads(json.dumps(manifest.deployment))["modulesContent"]
        return
    assert problems
    assert all(problem.place.startswith(("/", str(tmp_path))) for problem in problems)
