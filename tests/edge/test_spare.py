import subprocess
import sys

LOAD = """
import json, sys, warnings
from bordnetz.edge.spare import spare_detectors
{first}
warnings.simplefilter("error", append=True)
import azure.iot.device.aio, requests
answer = requests.Response()
answer._content = '{{"Bär": "北"}}'.encode()
assert answer.json() == {{"Bär": "北"}}, answer.json()
print([name for name in ("chardet", "charset_normalizer") if sys.modules.get(name) is not None])
"""


def loaded(first):
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(first=first)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_sdk_loads_nothing_that_guesses_encodings_and_reads_json_all_the_same():
    assert loaded("spare_detectors()") == "[]"
    assert loaded("") != "[]", "nobody would load it anyway"
