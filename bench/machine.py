"""What machine a report is of."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, kernel, Python, and the load now."""
    return {
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int((_line("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def words(machine: dict[str, Any]) -> str:
    """The same on one line."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mib']} MiB, "
        f"{machine['kernel']}, Python {machine['python']}, load at start {machine['load']}"
    )


def _line(path: str, key: str) -> str | None:
    with Path(path).open() as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return None
