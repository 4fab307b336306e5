"""A command of the vehicle file is run without a shell, and bounded."""

import os
import time
from pathlib import Path

import pytest

from bordnetz.ota.installers.command import Command, CommandError
from bordnetz.ota.installers.quote import QUOTE


def sh(script: str, timeout: float = 60) -> Command:
    return Command(("sh", "-c", script), timeout)


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is more than a name that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_ends_with_0_gives_what_it_printed():
    assert sh("echo fine; echo and well >&2").run() == "fine\nand well\n"


def test_no_shell_looks_at_the_arguments():
    assert Command(("echo", "$HOME; `id` *"), 60).run() == "$HOME; `id` *\n"


def test_a_command_that_ends_otherwise_is_an_error_with_its_last_line():
    with pytest.raises(CommandError, match=r"sh: ended with 3, saying: camera is missing$"):
        sh("echo starting; echo camera is missing; echo; exit 3").run()


def test_a_command_that_says_nothing_is_an_error_that_says_so():
    with pytest.raises(CommandError, match="false: ended with 1, and said nothing"):
        Command(("false",), 60).run()


def test_a_command_ended_by_a_signal_is_an_error():
    with pytest.raises(CommandError, match="ended by signal 9"):
        sh("kill -9 $$").run()


def test_a_command_that_is_not_there_is_an_error_that_says_what_to_do():
    with pytest.raises(CommandError, match=r"/no/such: cannot be run: .*mounted"):
        Command(("/no/such",), 60).run()


def test_an_argument_that_no_program_can_get_is_an_error():
    with pytest.raises(CommandError, match="cannot be run"):
        Command(("echo", "a\0b"), 60).run()


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path):
    pid = tmp_path / "pid"
    with pytest.raises(CommandError, match="killed after 2 s without an end, saying: waiting"):
        sh(f"sleep 1000 & echo $! >{pid}; echo waiting; wait", timeout=2).run()
    deadline = time.monotonic() + 60
    while runs(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_background_process_that_keeps_the_pipe_is_not_waited_for():
    output = sh("sleep 1000 & echo $!").run()
    os.kill(int(output), 9)


def test_a_command_that_prints_for_ever_is_killed_and_costs_no_memory():
    with pytest.raises(CommandError, match=r"killed after 0\.5 s") as caught:
        Command(("yes", "x" * 100_000), 0.5).run()
    assert len(str(caught.value)) < QUOTE + 100


def test_the_last_of_much_output_is_kept():
    assert len(sh("yes | head -n 100000; echo end").run()) == 4096
    assert sh("yes | head -n 100000; echo end").run().endswith("y\nend\n")


def test_what_is_quoted_cannot_forge_a_line_of_a_log():
    with pytest.raises(CommandError) as caught:
        sh(r"printf '\033[2J\302\205<6> forged\r'; exit 1").run()
    assert str(caught.value).isprintable()


def test_our_environment_and_input_are_not_the_commands(monkeypatch):
    monkeypatch.setenv("SECRET", "sas")
    output = sh("cat; env").run()
    names = {line.split("=")[0] for line in output.splitlines()}
    assert names <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}
