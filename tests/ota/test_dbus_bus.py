"""A bus may hang, lie and send without end: no call outlasts its time or takes more than it may."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jeepney import HeaderFields, Message, new_error, new_method_return, new_signal
from jeepney.low_level import Parser
from jeepney.wrappers import DBusAddress

from bordnetz.ota.installers.dbus import MAX_MESSAGE, MAX_SIGNALS, Bus, BusError, CallError
from bordnetz.ota.installers.rauc_service import RaucError, RaucService, Slot
from bordnetz.ota.installers.trouble import UnavailableError

Answer = Callable[[socket.socket, Message], None]


def hello(sock: socket.socket, call: Message) -> None:
    sock.sendall(new_method_return(call, "s", (":1.7",)).serialise(serial=1))


def reply(signature: str, *body: object) -> Answer:
    def answer(sock: socket.socket, call: Message) -> None:
        sock.sendall(new_method_return(call, signature, body).serialise(serial=2))

    return answer


def silence(sock: socket.socket, call: Message) -> None:
    pass


def raw(data: bytes) -> Answer:
    return lambda sock, _: sock.sendall(data)


@contextmanager
def bus(folder: Path, *answers: Answer) -> Iterator[str]:
    """A socket that speaks D-Bus as far as its answers go, and then hangs."""
    path = folder / "bus"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    end = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            try:
                lines = b""
                while not lines.endswith(b"\r\n"):
                    lines += sock.recv(1024)
                sock.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                parser = Parser()
                begin = b""
                while not begin.endswith(b"BEGIN\r\n"):
                    begin += sock.recv(1)
                for answer in answers:
                    while (call := parser.get_next_message()) is None:
                        data = sock.recv(4096)
                        if not data:
                            return
                        parser.add_data(data)
                    answer(sock, call)
                end.wait(60)
            except OSError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"unix:path={path}"
    finally:
        end.set()
        thread.join()
        listener.close()


@contextmanager
def connect(folder: Path, timeout: float, *answers: Answer) -> Iterator[Bus]:
    """A connection to such a socket."""
    with bus(folder, hello, *answers) as address, Bus(address, timeout) as connection:
        yield connection


def ask(connection: Bus) -> tuple[object, ...]:
    return connection.call("a.b", "/", "a.b", "Ask")


def test_a_call_gives_what_is_answered(tmp_path):
    with bus(tmp_path, hello, reply("su", "x", 3)) as address, Bus(address, 60) as connection:
        assert ask(connection) == ("x", 3)


def test_an_error_is_told_with_its_name(tmp_path):
    def answer(sock: socket.socket, call: Message) -> None:
        sock.sendall(new_error(call, "a.b.C", "s", ("not\ntoday\x1b",)).serialise(serial=2))

    with bus(tmp_path, hello, answer) as address, Bus(address, 60) as connection:
        with pytest.raises(CallError, match=r"^Ask: today\?$") as caught:
            ask(connection)
        assert caught.value.name == "a.b.C"


def test_a_socket_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(BusError, match="socket mounted"), Bus(f"unix:path={tmp_path}/no", 1):
        pass


@pytest.mark.parametrize("address", ["", "tcp:host=x", "nonsense", "unix:nopath=1"])
def test_what_is_no_address_is_told(address):
    with pytest.raises(BusError, match="cannot connect"), Bus(address, 1):
        pass


def test_a_bus_that_does_not_let_us_in_costs_its_time_and_no_more(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        with pytest.raises(BusError, match="authenticate"), Bus(f"unix:path={tmp_path}/bus", 0.2):
            pass


def test_a_bus_that_hangs_at_the_greeting_costs_its_time_and_no_more(tmp_path):
    with (
        bus(tmp_path, silence) as address,
        pytest.raises(BusError, match=r"Hello: .* within 2 s"),
        Bus(address, 2),
    ):
        pass


def test_a_call_that_nobody_answers_costs_its_time_and_no_more(tmp_path):
    with (
        connect(tmp_path, 2, silence) as connection,
        pytest.raises(BusError, match=r"Ask: a\.b has not answered within 2 s"),
    ):
        ask(connection)


def test_answers_to_other_calls_are_none_to_ours_even_if_they_do_not_end(tmp_path):
    def answer(sock: socket.socket, call: Message) -> None:
        call.header.serial += 1
        other = new_method_return(call).serialise(serial=2)
        while True:
            sock.sendall(other)

    with (
        connect(tmp_path, 2, answer) as connection,
        pytest.raises(BusError, match="has not answered"),
    ):
        ask(connection)


def test_a_message_that_claims_to_be_large_is_refused_before_it_comes(tmp_path):
    head = b"l\2\0\1" + struct.pack("<III", 2 * MAX_MESSAGE, 2, 0)
    with (
        connect(tmp_path, 60, raw(head)) as connection,
        pytest.raises(BusError, match=f"more than {MAX_MESSAGE} bytes is refused"),
    ):
        ask(connection)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100),
        b"l\x09\0\1" + struct.pack("<III", 0, 2, 0),
        b"l\2\0\1" + struct.pack("<III", 4, 2, 8) + b"\x08\1g\0\1(\0\0" + bytes(4),
        b"l\2\0\1" + struct.pack("<III", 0, 2, 4) + b"\x63\1y\0" + bytes(4),
    ],
)
def test_what_is_no_message_is_refused(tmp_path, data):
    with (
        connect(tmp_path, 60, raw(data)) as connection,
        pytest.raises(BusError, match="is no message"),
    ):
        ask(connection)


def test_a_bus_that_closes_is_told(tmp_path):
    def close(sock: socket.socket, _: Message) -> None:
        sock.shutdown(socket.SHUT_RDWR)

    with (
        connect(tmp_path, 60, close) as connection,
        pytest.raises(BusError, match="connection lost"),
    ):
        ask(connection)


def signals(count: int) -> Answer:
    def answer(sock: socket.socket, call: Message) -> None:
        signal = new_signal(DBusAddress("/", interface="a.b"), "Said", "u", (1,))
        signal.header.fields[HeaderFields.sender] = ":1.9"
        sock.sendall(signal.serialise(serial=3) * count)
        reply("u", 1)(sock, call)

    return answer


def test_signals_that_come_before_the_answer_are_kept_in_order(tmp_path):
    with bus(tmp_path, hello, signals(2)) as address, Bus(address, 60) as connection:
        ask(connection)
        first = connection.signal(1)
        assert first is not None
        assert (first.sender, first.interface, first.member) == (":1.9", "a.b", "Said")
        assert connection.signal(1) is not None
        assert connection.signal(0.05) is None


def test_signals_without_end_are_no_way_to_our_memory(tmp_path):
    with (
        connect(tmp_path, 60, signals(MAX_SIGNALS + 1)) as connection,
        pytest.raises(BusError, match="more signals than anybody needs"),
    ):
        ask(connection)


# What answers in the name of RAUC


@contextmanager
def rauc(folder: Path, signature: str, *body: object) -> Iterator[RaucService]:
    listening = [reply("")] * 3
    with (
        bus(folder, hello, *listening, reply(signature, *body)) as address,
        RaucService(address, timeout=60) as service,
    ):
        yield service


def test_the_status_of_slots_is_understood(tmp_path):
    status = {"class": ("s", "rootfs"), "installed.count": ("u", 3), "new": ("b", True)}
    slot = Slot.model_validate({"name": "rootfs.0", "class": "rootfs", "installed.count": 3})
    with rauc(tmp_path, "a(sa{sv})", [("rootfs.0", status)]) as service:
        assert service.slots() == {"rootfs.0": slot}


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("s", ["idle"]),
        ("", []),
        ("a(sa{sv})", [[("rootfs.0", {"installed.count": ("s", "3")})]]),
        ("a(sa{sv})", [[("rootfs.0", {"status": ("s", "x" * 5000)})]]),
        ("a(sa{sv})", [[(f"rootfs.{n}", {}) for n in range(65)]]),
        ("a(sv)", [[("rootfs.0", ("u", 1))]]),
        ("a(us)", [[(1, "x")]]),
        ("au", [[1]]),
    ],
)
def test_what_is_no_status_of_slots_is_refused(tmp_path, signature, body):
    refused = pytest.raises(RaucError, match=r"not understood.*older than 1\.8")
    with rauc(tmp_path, signature, *body) as service, refused:
        service.slots()


def test_the_end_of_anothers_installation_is_not_the_end_of_ours(tmp_path):
    def begun(sock: socket.socket, call: Message) -> None:
        address = DBusAddress("/", interface="de.pengutronix.rauc.Installer")
        signal = new_signal(address, "Completed", "i", (0,))
        signal.header.fields[HeaderFields.sender] = ":1.9"
        sock.sendall(signal.serialise(serial=3))
        reply("")(sock, call)

    listening = [reply("")] * 3
    answers = [hello, *listening, reply("a(sa{sv})", []), begun, reply("s", ":1.9")]
    open_end = pytest.raises(RaucError, match="not finished the installation")
    with bus(tmp_path, *answers) as address, RaucService(address, timeout=60) as service, open_end:
        service.install("/bundle", lambda _: None, time.monotonic() + 2)


@pytest.mark.parametrize(
    ("name", "text", "passes"),
    [
        ("org.freedesktop.DBus.Error.ServiceUnknown", "no such name", True),
        ("org.freedesktop.DBus.Error.NameHasNoOwner", "nobody", True),
        ("org.freedesktop.DBus.Error.NoReply", "it has ended", True),
        ("org.freedesktop.DBus.Error.Spawn.ChildExited", "it has ended", True),
        ("org.gtk.GDBus.UnmappedGError", "Already processing a different method", True),
        ("org.freedesktop.DBus.Error.AccessDenied", "not you", False),
        ("org.freedesktop.DBus.Error.UnknownMethod", "what is that", False),
    ],
)
def test_what_passes_by_itself_is_told_from_what_somebody_has_to_mend(tmp_path, name, text, passes):
    def answer(sock: socket.socket, call: Message) -> None:
        sock.sendall(new_error(call, name, "s", (text,)).serialise(serial=2))

    listening = [reply("")] * 3
    with (
        bus(tmp_path, hello, *listening, answer) as address,
        RaucService(address, timeout=60) as service,
        pytest.raises(RaucError) as caught,
    ):
        service.slots()
    assert isinstance(caught.value, UnavailableError) is passes
