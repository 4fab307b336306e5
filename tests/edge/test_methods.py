import asyncio

import pytest
from pydantic import BaseModel, ConfigDict, Field

from bordnetz.edge.methods import LARGEST, Method, MethodError, Methods, NoPayload
from bordnetz.errors import BordnetzError


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    signals: list[str] = Field(min_length=1)
    limit: int = 3


def methods(call, payload=NoPayload, limit=20.0):
    return Methods([Method("do", payload, call, limit)])


async def test_the_payload_reaches_the_method_in_its_model():
    async def call(ask):
        return {"signals": ask.signals, "limit": ask.limit}

    answer = await methods(call, Ask).answer("do", {"signals": ["a"]})
    assert answer == (200, {"signals": ["a"], "limit": 3})


async def test_no_payload_is_an_empty_one():
    async def call(payload):
        return {}

    assert await methods(call).answer("do", None) == (200, {})
    assert await methods(call).answer("do", {}) == (200, {})


async def test_an_unknown_method_is_a_404_with_the_known_ones():
    async def call(payload):
        return {}

    status, answer = await methods(call).answer("od", None)
    assert status == 404
    assert answer["error"].endswith("knows: do")


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"signals": []}, "signals"),
        ({"signals": [1]}, "signals.0"),
        ({}, "signals"),
        ({"signals": ["a"], "secret": "hidden"}, "secret"),
        ("text", "payload"),
        ([1], "payload"),
    ],
)
async def test_a_bad_payload_is_a_400_that_names_the_field(payload, field):
    async def call(ask):
        raise AssertionError

    status, answer = await methods(call, Ask).answer("do", payload)
    assert status == 400
    assert answer["fields"][0]["field"] == field
    assert field in answer["error"]
    assert "hidden" not in str(answer)


async def test_a_failure_is_a_500_with_a_message():
    async def call(payload):
        raise BordnetzError("the outbox is full")

    assert await methods(call).answer("do", None) == (500, {"error": "the outbox is full"})


async def test_an_unexpected_failure_shows_neither_values_nor_a_traceback(caplog):
    async def call(payload):
        raise KeyError("W0L000051T2123456")

    status, answer = await methods(call).answer("do", None)
    assert status == 500
    assert answer == {"error": "KeyError; the module's log says where"}
    assert "method do failed" in caplog.text


async def test_a_method_may_refuse_with_a_status_of_its_own():
    async def call(payload):
        raise MethodError("not while driving", 409)

    assert await methods(call).answer("do", None) == (409, {"error": "not while driving"})


async def test_a_method_that_is_too_slow_is_a_504():
    async def call(payload):
        await asyncio.Event().wait()

    status, answer = await methods(call, limit=0.01).answer("do", None)
    assert status == 504
    assert "within 0.01 s" in answer["error"]


@pytest.mark.parametrize("value", [float("nan"), object(), {1: float("inf")}])
async def test_an_answer_that_json_cannot_say_is_a_500(value):
    async def call(payload):
        return value

    assert (await methods(call).answer("do", None))[0] == 500


async def test_an_answer_beyond_the_hubs_limit_is_a_500_that_says_so():
    async def call(payload):
        return "x" * LARGEST

    status, answer = await methods(call).answer("do", None)
    assert status == 500
    assert str(LARGEST) in answer["error"]


def test_two_methods_of_one_name_are_a_mistake():
    async def call(payload):
        return {}

    with pytest.raises(ValueError, match="two methods"):
        Methods([Method("do", NoPayload, call), Method("do", NoPayload, call)])
