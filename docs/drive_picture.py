"""Writes `docs/drive.svg`: the live view of a real drive, half a minute after its start.

python docs/drive_picture.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from bordnetz.laptop.drive.drive import Plan, drive
from bordnetz.laptop.drive.progress import Progress
from bordnetz.laptop.drive.view import picture

WIDTH, HEIGHT = 108, 28
SECONDS = 34

THEME = TerminalTheme(
    (18, 22, 30),
    (214, 219, 229),
    [
        (18, 22, 30),
        (240, 98, 98),
        (115, 201, 124),
        (232, 190, 96),
        (102, 155, 245),
        (193, 132, 230),
        (86, 190, 208),
        (214, 219, 229),
    ],
)
"""Colours that read well on the light and on the dark pages of code hosts."""


def export(console: Console) -> str:
    """The recorded picture as SVG that fetches nothing: any monospaced font will do."""
    svg = console.export_svg(title="make drive", theme=THEME)
    svg = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*;", "font-family: monospace;", svg)
    return re.sub(r"\n\s*\n", "\n", svg)


def main() -> None:
    """Drive, and keep the view of the last moment before the end."""
    moments: list[str] = []

    def keep(progress: Progress) -> None:
        if progress.elapsed < SECONDS and progress.connected:
            console = Console(file=io.StringIO(), record=True, width=WIDTH, height=HEIGHT)
            console.print(picture(progress, WIDTH, HEIGHT))
            moments[:] = [export(console)]

    drive(Plan(seconds=SECONDS, follow=True), keep)
    Path(__file__).with_name("drive.svg").write_text(moments[0])


if __name__ == "__main__":
    main()
