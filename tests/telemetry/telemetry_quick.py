"""``bordnetz telemetry`` whose hub link tries again after tenths of a second, not minutes."""

import sys
from functools import partial

from bordnetz.cli import main
from bordnetz.edge import run
from bordnetz.edge.link import Backoff

run.serve = partial(run.serve, backoff=Backoff(0.05, 0.3))
sys.argv[1:1] = ["telemetry"]
main()
