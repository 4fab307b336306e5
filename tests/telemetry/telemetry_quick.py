"""``bordnetz telemetry`` whose link waits tenths of a second before what takes seconds.

When it is asked to stop it takes the time that a loaded machine needs, unless ``CUT_OFF`` is set.
"""

import os
import sys
from functools import partial

from bordnetz.cli import main
from bordnetz.edge import run
from bordnetz.edge.link import Backoff, Timing

if "CUT_OFF" not in os.environ:
    run.STOP = run.DRAIN = 30
run.serve = partial(run.serve, timing=Timing(report=0.1), backoff=Backoff(0.05, 0.3))
sys.argv[1:1] = ["telemetry"]
main()
