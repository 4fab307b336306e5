"""What strangers send: the hub ends their connection, says why, and serves the others."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import time
from pathlib import Path
from urllib.parse import quote

import aiomqtt
import pytest
from hub_fixtures import template
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bordnetz.laptop.hub import http, mqtt
from bordnetz.laptop.hub.control import MAX_LINE
from bordnetz.laptop.hub.identities import DEVICE, HUB
from bordnetz.laptop.hub.server import Hub
from bordnetz.laptop.manifest import load_template

DAY = 86_400


@pytest.fixture
async def place(tmp_path, monkeypatch):
    """A hub on the test's own loop: what breaks it breaks the test."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    routes = {
        "up": "FROM /messages/* INTO $upstream",
        "ab": 'FROM /messages/modules/a/* INTO BrokeredEndpoint("/modules/b/inputs/in")',
    }
    manifest = template(tmp_path / "t.json", {"a": {}, "b": {}}, routes)
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    async with Hub(load_template(manifest), tmp_path / "hub").running() as running:
        yield running
    assert failures == []


async def _workload(place, request: bytes) -> tuple[int, dict]:
    reader, writer = await asyncio.open_unix_connection(place.workload)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def _post(place, path: str, body: bytes) -> tuple[int, dict]:
    head = f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return await _workload(place, head.encode() + body)


def _generation(place, module: str) -> str:
    return json.loads(Path(place.state, "keys.json").read_text())[module]["generation"]


async def _token(place, module="a", expiry=None, audience=None) -> str:
    resource = quote(audience or f"{HUB}/devices/{DEVICE}/modules/{module}", safe="")
    expiry = int(time.time() + DAY) if expiry is None else expiry
    data = base64.b64encode(f"{resource}\n{expiry}".encode()).decode()
    path = f"/modules/{module}/genid/{_generation(place, module)}/sign?api-version=2019-01-30"
    status, answer = await _post(
        place, path, json.dumps({"algo": "HMACSHA256", "data": data}).encode()
    )
    assert status == 200
    return f"SharedAccessSignature sr={resource}&sig={quote(answer['digest'], safe='')}&se={expiry}"


async def _tls(place) -> ssl.SSLContext:
    request = b"GET /trust-bundle?api-version=2019-01-30 HTTP/1.1\r\n\r\n"
    _, answer = await _workload(place, request)
    return ssl.create_default_context(cadata=answer["certificate"])


def _user(module="a", hub=HUB, device=DEVICE) -> str:
    return f"{hub}/{device}/{module}/?api-version=2019-10-01"


async def _client(place, module="a", **changes) -> aiomqtt.Client:
    options = {
        "identifier": f"{DEVICE}/{module}",
        "username": _user(module),
        "password": await _token(place, module),
        "tls_context": await _tls(place),
        "clean_session": True,
    }
    return aiomqtt.Client(place.address, 8883, **(options | changes))


async def _raw(place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(place.address, 8883, ssl=await _tls(place))


async def _connected(place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await _raw(place)
    token = (await _token(place)).encode()
    writer.write(mqtt.encode(mqtt.Connect(f"{DEVICE}/a", True, 60, _user(), token)))
    assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    return reader, writer


async def _is_served(place) -> None:
    async with await _client(place) as client:
        await client.publish(f"devices/{DEVICE}/modules/a/messages/events/", b"x", qos=1)


async def test_another_mqtt_library_works_too(place):
    async with await _client(place, "b") as b, await _client(place, "a") as a:
        await b.subscribe(f"devices/{DEVICE}/modules/b/inputs/#", qos=1)
        await a.publish(f"devices/{DEVICE}/modules/a/messages/events/%24.on=o&k=v", b"x", qos=1)
        async for message in b.messages:
            assert message.payload == b"x"
            assert str(message.topic).endswith("k=v")
            break


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "SharedAccessSignature sr=x&sig=y&se=1"},
        {"password": "secret"},
        {"password": None},
        {"username": None, "password": None},
        {"username": "x"},
        {"username": _user("b")},
        {"username": _user(hub="other")},
        {"username": _user("nobody"), "identifier": f"{DEVICE}/nobody"},
        {"username": f"{HUB}/{DEVICE}/a/?nothing"},
        {"identifier": f"{DEVICE}/b"},
        {"identifier": "x" * 5000},
    ],
)
async def test_who_cannot_prove_who_he_is_is_refused(place, changes):
    with pytest.raises(aiomqtt.MqttError):
        async with await _client(place, **changes):
            pass
    await _is_served(place)


@pytest.mark.parametrize(
    "wrong",
    [
        {"module": "b"},
        {"expiry": 1_000_000_000},
        {"audience": f"{HUB}/devices/{DEVICE}/modules/b"},
        {"audience": "x"},
    ],
)
async def test_a_token_for_another_or_out_of_date_is_refused(place, wrong):
    with pytest.raises(aiomqtt.MqttError, match="code:5"):
        async with await _client(place, password=await _token(place, **wrong)):
            pass


async def test_a_second_connection_of_a_module_ends_the_first(place):
    reader, writer = await _connected(place)
    await _is_served(place)
    assert await reader.read() == b""
    writer.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_the_certificate_is_of_the_hubs_own_authority_alone(place):
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(place.address, 8883, ssl=ssl.create_default_context())
    old = await _tls(place)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(place.address, 8883, ssl=old)


_PUBLISH = mqtt.Publish(f"devices/{DEVICE}/modules/a/messages/events/", b"x", 1, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x30\xff\xff\xff\xff\xff",
        b"\x30\xff\xff\xff\x7f",
        b"\x34\x05\x00\x01t\x00\x01",
        mqtt.encode(mqtt.Connect("again")),
        mqtt.encode(mqtt.Connack()),
        mqtt.encode(mqtt.Publish(f"devices/{DEVICE}/modules/b/messages/events/", b"x")),
        mqtt.encode(mqtt.Publish("$SYS/anything", b"x")),
        mqtt.encode(mqtt.Publish("$iothub/methods/POST/ping/?$rid=1", b"x")),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_a_client_must_not_send_ends_its_connection(place, data):
    reader, writer = await _connected(place)
    writer.write(mqtt.encode(_PUBLISH) + data)
    assert await reader.read() == mqtt.encode(mqtt.Puback(1))
    writer.close()
    await _is_served(place)


@pytest.mark.parametrize(
    "data",
    [
        mqtt.encode(mqtt.Pingreq()),
        mqtt.encode(_PUBLISH),
        mqtt.encode(mqtt.Connect("x" * 20_000)),
        b"\x16\x03\x01",
    ],
)
async def test_nobody_is_heard_before_he_has_connected(place, data):
    reader, writer = await _raw(place)
    writer.write(data)
    assert await reader.read() == b""
    writer.close()
    await _is_served(place)


async def test_mqtt_5_is_answered_with_the_protocol_level(place):
    reader, writer = await _raw(place)
    writer.write(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")
    assert await reader.read() == b"\x20\x02\x00\x01"
    writer.close()


async def test_bytes_that_are_not_tls_do_no_harm(place):
    reader, writer = await asyncio.open_connection(place.address, 8883)
    writer.write(os.urandom(2000))
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()
    await _is_served(place)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET /modules/x HTTP/1.1\r\n\r\n", 404),
        (b"POST /trust-bundle HTTP/1.1\r\n\r\n", 404),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    ],
)
async def test_a_request_that_makes_no_sense_is_answered_with_an_error(place, request_, status):
    code, answer = await _workload(place, request_)
    assert code == status
    assert answer["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/modules/nobody/genid/1/sign", b"{}", 404),
        ("/modules/a/genid/wrong/sign", b"{}", 404),
        ("/modules/a/genid/GEN/sign", b"{", 400),
        ("/modules/a/genid/GEN/sign", b"[" * 60_000, 400),
        ("/modules/a/genid/GEN/sign", b"[]", 400),
        ("/modules/a/genid/GEN/sign", b'{"algo": "HMACSHA256", "data": "%"}', 400),
        ("/modules/a/genid/GEN/sign", b'{"algo": "HMACSHA256", "data": 5}', 400),
        ("/modules/a/genid/GEN/sign", b'{"algo": "MD5", "data": ""}', 400),
    ],
)
async def test_only_a_deployed_module_gets_a_signature(place, path, body, status):
    path = path.replace("GEN", _generation(place, "a"))
    code, _ = await _post(place, path, body)
    assert code == status


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_as_a_request_end_in_a_response_or_the_connections_end(data):
    async def serve() -> bytes:
        reader = asyncio.StreamReader(limit=http.MAX_HEAD)
        reader.feed_data(data + b"\r\n\r\n")
        reader.feed_eof()
        written = []

        class Writer:
            def write(self, part):
                written.append(part)

            async def drain(self):
                pass

            def close(self):
                pass

        await http.connection(lambda request: http.Response(b"{}"))(reader, Writer())
        return b"".join(written)

    answer = asyncio.run(serve())
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"verb": "explode"}',
        b'{"verb": []}',
        b'{"verb": "twin"}',
        b'{"verb": "twin", "module": 5}',
        b'{"verb": "set", "module": "a", "patch": []}',
        b"[" * 100_000,
        b"\xff\xff",
    ],
)
async def test_a_control_request_that_makes_no_sense_is_answered_with_an_error(place, line):
    reader, writer = await asyncio.open_unix_connection(place.control)
    for asked in (line, b'{"verb": "status"}'):
        writer.write(asked + b"\n")
        answer = json.loads(await reader.readline())
        assert ("result" in answer) == (b"status" in asked)
    writer.close()


async def test_an_endless_control_line_ends_the_connection(place):
    reader, writer = await asyncio.open_unix_connection(place.control)
    writer.write(b"x" * (3 * MAX_LINE))
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_the_metrics_are_there_for_a_scraper(place):
    await _is_served(place)
    host, port = place.metrics.removeprefix("http://").removesuffix("/metrics").split(":")
    for path, status in ((b"/metrics", b"200"), (b"/", b"404")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert (b'edgehub_messages_received_total{edge_device="vehicle"' in answer) == (
            status == b"200"
        )
