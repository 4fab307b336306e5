import io
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.edge.log import EdgeFormatter, start_logging

# What Edge agent takes a line apart with (iotedge, LogMessageParser).
PARSER = re.compile(
    r"^(<(?P<level>\d)>)?\s*((?P<time>\d{4}-\d{2}-\d{2}\s\d{2}:\d{2}:\d{2}.\d{3}\s[+-]\d{2}:\d{2})\s)?\s*(?P<text>.*)"
)


def line(message, *arguments, level=logging.INFO, error=None):
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("x", level, "f", 1, message, arguments, info)
    record.created = 1769860800.0426
    return EdgeFormatter().format(record)


def test_edge_agent_finds_level_time_and_text():
    found = PARSER.match(line("no hub for %d s", 5, level=logging.WARNING))
    assert found["level"] == "4"
    assert found["time"] == "2026-01-31 12:00:00.042 +00:00"
    assert found["text"] == "[WRN] - no hub for 5 s"


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
    ],
)
def test_levels_are_those_of_syslog(level, number):
    assert line("x", level=level).startswith(f"<{number}> ")


@given(st.text())
def test_an_event_is_one_line(text):
    assert len(line("%s", text).splitlines()) == 1


def test_a_long_event_is_cut():
    assert len(line("x" * 1_000_000)) < 5_000


@pytest.mark.parametrize(
    "secret",
    [
        "SharedAccessSignature sr=hub%2Fdevices&sig=c2VjcmV0&se=1",
        "https://store/blob?sv=1&sig=c2VjcmV0&se=1",
        "HostName=h;SharedAccessKey=c2VjcmV0;x=1",
        "password: c2VjcmV0",
    ],
)
def test_secrets_are_blanked(secret):
    assert "c2VjcmV0" not in line("failed: %s", secret)
    assert "***" in line("failed: %s", secret)


def test_an_error_is_told_by_kind_and_place_without_its_text():
    try:
        int("W0L000051T2123456")
    except ValueError as error:
        text = line("method failed", error=error)
    assert "method failed: ValueError at test_log.py:" in text
    assert "W0L" not in text


def test_the_level_is_the_one_edge_agent_hands_over():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        stream = io.StringIO()
        start_logging("Warning", stream)
        logging.getLogger("x").info("quiet")
        logging.getLogger("x").warning("loud")
        logging.getLogger("azure.iot.device").warning("token")
        assert stream.getvalue().count("\n") == 1
        assert "loud" in stream.getvalue()
        start_logging("nonsense", stream)
        assert root.level == logging.INFO
    finally:
        root.handlers[:] = before
        root.setLevel(level)
