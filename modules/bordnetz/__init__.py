"""bordnetz: the in-vehicle edge of a connected fleet.

The rooms, in the order the data flows: ``can`` (frames to samples), ``batch`` (samples to
compact messages), ``edge`` (what every Edge module shares: outbox, hub link, twin, methods),
``telemetry`` (the first Edge module) and ``laptop`` (stand-in Edge hub, simulated vehicle,
``drive``).  ``series`` holds the one noun they hand to each other: signals in columns.
"""

__version__ = "0.1.0"
