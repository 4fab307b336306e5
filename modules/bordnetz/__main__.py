"""``python -m bordnetz`` is ``bordnetz``."""

from bordnetz.cli import main

main()
