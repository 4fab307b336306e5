"""``bordnetz ota`` with a hub link that waits for tenths of a second, as tests have less time."""

import sys
from functools import partial

from bordnetz.cli import main
from bordnetz.edge import run
from bordnetz.edge.link import Backoff, Timing

if __name__ == "__main__":
    run.serve = partial(run.serve, timing=Timing(report=0.1), backoff=Backoff(0.05, 0.3))
    sys.argv = ["bordnetz", "ota"]
    main()
