import asyncio
import threading
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from bordnetz.edge.twin import PRIVATE, ROOM, WHOLE, Refusal, Twin, json_size, merged


class Rule(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    match: Annotated[str, Field(min_length=1)]
    min_interval: Annotated[float, Field(ge=0)] = 0


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid")
    low: int = 0
    high: int = 10

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


class Desired(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    collect: Annotated[list[Rule], Field(max_length=5)] = []
    batch_window: Annotated[float, Field(ge=0.1)] = 10
    limits: Limits = Limits()


class Prompt(Twin):
    """Judges at once."""

    def replace(self, desired):
        super().replace(desired)
        self.judge()

    def patch(self, patch):
        follows = super().patch(patch)
        self.judge()
        return follows

    def recheck(self):
        super().recheck()
        self.judge()


def twin_of(**properties):
    twin = Prompt(Desired)
    twin.replace({**properties, "$version": 1})
    return twin


def test_without_desired_properties_the_defaults_hold():
    twin = Prompt(Desired)
    assert twin.config == Desired()
    twin.replace({"$version": 4})
    assert twin.config == Desired()
    assert twin.version == 4
    assert twin.acknowledgements == {}


def test_what_is_accepted_is_acknowledged_with_value_and_version():
    twin = twin_of(batchWindow=5)
    assert twin.config.batch_window == 5
    assert twin.acknowledgements == {
        "batchWindow": {"value": 5, "ac": 200, "av": 1, "ad": "accepted"}
    }


def test_a_bad_value_keeps_the_old_one_and_says_which_field_and_why():
    twin = twin_of(batchWindow=5)
    assert twin.patch({"batchWindow": -1, "$version": 2})
    assert twin.config.batch_window == 5
    answer = twin.acknowledgements["batchWindow"]
    assert (answer["value"], answer["ac"], answer["av"]) == (5, 400, 2)
    assert answer["ad"] == "batchWindow: Input should be greater than or equal to 0.1"


@pytest.mark.parametrize("version", ["\ud800", None, [1], {}, 1.5])
def test_a_version_that_is_no_number_is_none(version):
    twin = twin_of(batchWindow=5)
    assert not twin.patch({"batchWindow": 6, "$version": version})
    twin.replace({"batchWindow": 6, "\ud800": 1, "$version": version})
    assert (twin.config.batch_window, twin.version) == (6, 0)
    assert twin.acknowledgements["\ud800"]["ac"] == 400
    assert not twin.patch({"batchWindow": 7, "$version": version})


@pytest.mark.parametrize("levels", [1, 20, 400, 900])
def test_what_is_nested_deeply_is_refused_like_all_that_is_wrong(levels):
    deep = 5
    for level in range(levels):
        deep = [deep] if level % 2 else {"a": deep}
    twin = twin_of(batchWindow=5)
    assert twin.patch({"batchWindow": deep, "unknown": deep, "$version": 2})
    twin.replace({"batchWindow": deep, "unknown": deep, "$version": 3})
    assert twin.config.batch_window == 5
    assert {name: one["ac"] for name, one in twin.acknowledgements.items()} == {
        "batchWindow": 400,
        "unknown": 400,
    }


def test_a_bad_value_costs_its_neighbours_nothing():
    twin = twin_of(batchWindow="soon", collect=[{"match": "a"}])
    assert twin.config.batch_window == 10
    assert twin.config.collect == [Rule(match="a")]
    assert twin.acknowledgements["collect"]["ac"] == 200


def test_a_bad_entry_of_a_list_is_refused_alone():
    twin = twin_of(collect=[{"match": ""}, {"match": "b"}, 7, {"match": "d", "every": 1}])
    assert [rule.match for rule in twin.config.collect] == ["b"]
    answer = twin.acknowledgements["collect"]
    assert answer["ac"] == 400
    assert answer["value"] == [{"match": "b"}]
    for part in ("collect[0].match", "collect[2]", "collect[3].every"):
        assert part in answer["ad"]


def test_the_old_entry_stays_in_the_place_of_a_bad_one_of_the_same_name():
    twin = twin_of(collect=[{"match": "a", "minInterval": 1}, {"minInterval": 2, "match": "b"}])
    new = [{"match": "b", "minInterval": -1}, {"match": "c"}, {"match": "a", "minInterval": "x"}]
    assert twin.patch({"collect": new, "$version": 2})
    found = [(rule.match, rule.min_interval) for rule in twin.config.collect]
    assert found == [("b", 2), ("c", 0), ("a", 1)]


def test_a_list_that_is_too_long_is_refused_whole():
    twin = twin_of(collect=[{"match": "a"}])
    assert twin.patch({"collect": [{"match": "b"}] * 6, "$version": 2})
    assert [rule.match for rule in twin.config.collect] == ["a"]


def test_a_bad_field_of_a_nested_object_is_refused_alone():
    twin = twin_of(limits={"low": 3, "high": 8})
    assert twin.patch({"limits": {"low": "x", "high": 9}, "$version": 2})
    assert twin.config.limits == Limits(low=3, high=9)
    assert "limits.low" in twin.acknowledgements["limits"]["ad"]


def test_an_object_that_contradicts_itself_is_refused_whole():
    twin = twin_of(limits={"low": 3, "high": 8})
    assert twin.patch({"limits": {"low": 9}, "$version": 2})
    assert twin.config.limits == Limits(low=3, high=8)


def test_an_unknown_property_is_refused_with_the_known_ones():
    twin = twin_of(window=10)
    answer = twin.acknowledgements["window"]
    assert answer["ac"] == 400
    assert "batchWindow, collect, limits" in answer["ad"]
    assert "value" not in answer


def test_a_property_taken_away_falls_back_to_its_default():
    twin = twin_of(batchWindow=5, collect=[{"match": "a"}])
    assert twin.patch({"batchWindow": None, "$version": 2})
    assert twin.config.batch_window == 10
    assert list(twin.acknowledgements) == ["collect"]


def test_a_patch_that_does_not_follow_is_not_taken():
    twin = twin_of(batchWindow=5)
    assert not twin.patch({"batchWindow": 6, "$version": 3})
    assert twin.config.batch_window == 5
    assert twin.patch({"batchWindow": 7, "$version": 1})
    assert twin.config.batch_window == 5
    assert not Prompt(Desired).patch({"batchWindow": 6, "$version": 1})


def test_what_makes_no_sense_in_this_vehicle_is_refused_like_what_is_malformed():
    known = {"a", "b"}

    def check(config):
        for index, rule in enumerate(config.collect):
            if rule.match not in known:
                yield Refusal(("collect", index), "no such signal")

    twin = Prompt(Desired, check)
    twin.replace({"collect": [{"match": "a"}, {"match": "x"}, {"match": "b"}], "$version": 1})
    assert [rule.match for rule in twin.config.collect] == ["a", "b"]
    assert twin.acknowledgements["collect"]["ad"] == "collect[1]: no such signal"
    known.add("x")
    twin.recheck()
    assert [rule.match for rule in twin.config.collect] == ["a", "x", "b"]
    assert twin.acknowledgements["collect"]["ac"] == 200


def test_what_was_accepted_stays_only_as_far_as_it_still_makes_sense():
    known = {"a", "b"}

    def check(config):
        for index, rule in enumerate(config.collect):
            if rule.match not in known:
                yield Refusal(("collect", index), "no such signal")

    twin = Prompt(Desired, check)
    twin.replace({"collect": [{"match": "a"}, {"match": "b"}], "batchWindow": 5, "$version": 1})
    assert twin.patch({"batchWindow": 0, "$version": 2})
    known.remove("b")
    twin.recheck()
    assert [rule.match for rule in twin.config.collect] == ["a"]
    assert twin.acknowledgements["collect"]["ad"] == "collect[1]: no such signal"
    # What was refused for its own sake keeps what was there before.
    assert twin.config.batch_window == 5
    # Nor does the senseless rule cost the properties that come later.
    assert twin.patch({"batchWindow": 7, "$version": 3})
    assert twin.config.batch_window == 7
    assert [rule.match for rule in twin.config.collect] == ["a"]
    known.add("b")
    twin.recheck()
    assert [rule.match for rule in twin.config.collect] == ["a", "b"]


class FirstMatch(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    collect: Annotated[list[Rule], Field(max_length=5), WHOLE] = []
    batch_window: Annotated[float, Field(ge=0.1)] = 10


def test_of_a_list_that_stands_as_a_whole_a_malformed_entry_refuses_all():
    twin = Prompt(FirstMatch)
    twin.replace({"collect": [{"match": "a"}, {"match": "b"}], "$version": 1})
    new = [{"match": "b", "minInterval": -1}, {"match": "*"}]
    assert twin.patch({"collect": new, "batchWindow": 5, "$version": 2})
    assert [rule.match for rule in twin.config.collect] == ["a", "b"]
    assert twin.config.batch_window == 5
    answer = twin.acknowledgements["collect"]
    assert (answer["value"], answer["ac"]) == ([{"match": "a"}, {"match": "b"}], 400)
    assert answer["ad"].startswith("collect[0].minInterval: Input should be greater than or equal")
    assert twin.patch({"collect": None, "$version": 3})
    assert twin.patch({"collect": new, "$version": 4})
    assert twin.config.collect == []


def test_an_entry_that_makes_no_sense_here_is_refused_alone_whatever_else_is_malformed():
    def check(config):
        for index, rule in enumerate(config.collect):
            if rule.match == "x":
                yield Refusal(("collect", index), "no such signal")

    for model in (Desired, FirstMatch):
        twin = Prompt(model, check)
        rules = [{"match": "a"}, {"match": "x"}, {"match": "b"}]
        twin.replace({"collect": rules, "batchWindow": 0, "$version": 1})
        assert [rule.match for rule in twin.config.collect] == ["a", "b"]
        assert twin.acknowledgements["collect"]["ad"] == "collect[1]: no such signal"
        assert twin.acknowledgements["batchWindow"]["ac"] == 400


def test_what_was_accepted_gives_a_new_twin_the_same_configuration():
    twin = twin_of(batchWindow=5, limits={"low": 3, "high": 8})
    assert twin.patch({"batchWindow": 0, "limits": {"low": 4, "high": "x"}, "$version": 2})
    resumed = Prompt(Desired)
    resumed.replace(twin.accepted)
    assert resumed.config == twin.config == Desired(batchWindow=5, limits=Limits(low=4, high=8))
    assert resumed.version == twin.version == 2


async def test_the_event_loop_goes_on_while_a_configuration_is_judged():
    judging, go_on = threading.Event(), threading.Event()

    def check(config):
        if config.batch_window == 5:
            judging.set()
            assert go_on.wait(60)
        return ()

    twin = Twin(Desired, check)
    judgements = twin.judging()
    twin.replace({"batchWindow": 5, "$version": 1})
    first = asyncio.ensure_future(anext(judgements))
    await asyncio.to_thread(judging.wait, 60)
    # What comes meanwhile follows what is being judged.
    assert twin.patch({"batchWindow": 6, "$version": 2})
    assert (twin.config.batch_window, twin.version) == (10, 0)
    settled = asyncio.ensure_future(twin.settled())
    go_on.set()
    assert (await first)["batchWindow"]["av"] == 1
    assert (twin.config.batch_window, twin.version) == (5, 1)
    assert (await anext(judgements))["batchWindow"]["av"] == 2
    assert not settled.done()
    following = asyncio.ensure_future(anext(judgements))
    await settled
    assert (twin.config.batch_window, twin.version) == (6, 2)
    following.cancel()


async def test_what_cannot_be_judged_leaves_everything_as_it_was(caplog):
    def check(config):
        if config.batch_window == 5:
            raise KeyError("W0L000051T2123456")
        return ()

    twin = Twin(Desired, check)
    judgements = twin.judging()
    twin.replace({"batchWindow": 5, "$version": 1})
    assert await anext(judgements) == {}
    assert "cannot be judged, those before them stay" in caplog.text
    twin.replace({"batchWindow": 6, "$version": 2})
    assert (await anext(judgements))["batchWindow"]["ac"] == 200


def test_values_do_not_appear_in_reasons():
    twin = twin_of(batchWindow="https://store/?sig=secret", limits={"low": "secret"})
    for answer in twin.acknowledgements.values():
        assert "secret" not in answer["ad"]


def test_acknowledgements_fit_into_the_reported_section():
    class Long(BaseModel):
        texts: list[str] = []
        number: int = 0

    twin = Prompt(Long)
    twin.replace({"texts": ["x" * 1000] * 30, "number": 1, "$version": 1})
    assert json_size(twin.acknowledgements) <= ROOM
    assert "too large to be repeated" in twin.acknowledgements["texts"]["ad"]
    assert twin.acknowledgements["number"]["value"] == 1
    assert len(twin.config.texts) == 30


async def test_who_waits_for_changes_gets_the_latest():
    twin = Prompt(Desired)
    changes = twin.changes()
    assert (await anext(changes)).batch_window == 10
    twin.replace({"batchWindow": 5, "$version": 1})
    twin.replace({"batchWindow": 6, "$version": 2})
    assert (await anext(changes)).batch_window == 6
    waiting = asyncio.ensure_future(anext(changes))
    twin.replace({"batchWindow": 6, "$version": 3})
    await asyncio.sleep(0)
    assert not waiting.done()
    twin.replace({"batchWindow": 7, "$version": 4})
    assert (await waiting).batch_window == 7


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["match", "minInterval", "low", "high", "x"]), inner)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["collect", "batchWindow", "limits", "other"]), JSON, max_size=4
)


@given(st.lists(DOCUMENTS, max_size=4))
def test_no_desired_property_whatever_it_is_breaks_the_module(documents):
    twin = Prompt(Desired)
    for version, document in enumerate(documents, 1):
        twin.replace({**document, "$version": version})
        assert twin.acknowledgements.keys() == document.keys()
        Desired.model_validate(twin.config.model_dump(by_alias=True))
        for name, answer in twin.acknowledgements.items():
            assert answer["ac"] in (200, 400)
            assert answer["av"] == version
            if answer["ac"] == 200:
                Desired.model_validate({name: document[name]})


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_that_sets_everything_gives_the_new_document(old, new):
    patch = {**dict.fromkeys(old), **new}
    result = merged({k: v for k, v in old.items() if not isinstance(v, dict)}, patch)
    for name, value in new.items():
        if value is None:
            assert name not in result
        elif not isinstance(value, dict):
            assert result[name] is value


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": [1]}, {"a": [2, None]}, {"a": [2, None]}),
    ],
)
def test_twin_patches_merge_like_rfc_7386(old, patch, new):
    assert merged(old, patch) == new


class Referring(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reference: Annotated[dict[str, str | list[str]], PRIVATE] = {}
    plain: str = ""


def test_an_answer_leaves_out_what_a_private_property_carries_behind_the_question_mark():
    twin = Twin(Referring)
    url = "https://store.example/director?sig=topsecret"
    twin.replace({"reference": {"a": url, "b": [url]}, "plain": "who?", "$version": 1})
    twin.judge()
    assert twin.config.reference == {"a": url, "b": [url]}
    told = twin.acknowledgements["reference"]["value"]
    assert told == {
        "a": "https://store.example/director",
        "b": ["https://store.example/director"],
    }
    assert twin.acknowledgements["plain"]["value"] == "who?"


def test_a_private_property_that_is_refused_keeps_its_secret():
    twin = Twin(Referring)
    twin.replace({"reference": {"a": 5, "b": "https://x/?sig=topsecret"}, "$version": 1})
    twin.judge()
    assert twin.acknowledgements["reference"]["ac"] == 400
    assert "topsecret" not in str(twin.acknowledgements)
