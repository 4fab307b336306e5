"""Writes `docs/ota.svg`: the states of an update, and every way from one to another.

python docs/ota_picture.py

The ways are walked through `bordnetz.ota.steps`, which decides them in the car; a way that is not
drawn, or drawn and not there, is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from bordnetz.ota.attempt import Attempt, Failure, Member, Verb
from bordnetz.ota.forward import _STATES
from bordnetz.ota.states import Result, State
from bordnetz.ota.steps import Act, Step, next_step
from bordnetz.uptane.custom import Campaign
from bordnetz.uptane.target import Target

Way = tuple[State, State]

WIDTH, HEIGHT = 1180, 660
BOX, TALL = 158, 46

PLACES: dict[State, tuple[int, int, str]] = {
    State.NEEDS_URL: (240, 70, "waits"),
    State.PAUSED: (425, 70, "waits"),
    State.IDLE: (115, 195, "rests"),
    State.DOWNLOADING: (332, 195, "works"),
    State.WAITING: (622, 195, "waits"),
    State.INSTALLING: (835, 195, "works"),
    State.ACTIVATING: (1050, 195, "works"),
    State.WAITING_FOR_REBOOT: (1050, 365, "waits"),
    State.VERIFYING: (835, 365, "works"),
    State.COMMITTING: (332, 365, "works"),
    State.SUCCEEDED: (115, 365, "good"),
    State.ROLLING_BACK: (835, 575, "works"),
    State.FAILED: (505, 575, "bad"),
    State.REFUSED: (332, 575, "bad"),
    State.CANCELLED: (159, 575, "bad"),
}
"""Centre of each state's box, and its class."""

ENDS = (State.FAILED, State.REFUSED, State.CANCELLED)

ARROWS: list[tuple[str, str, tuple[int, int, str], list[Way]]] = [
    # SVG path, label, its place and anchor, the ways that it stands for.
    (
        "M193,195 H246",
        "",
        (0, 0, "middle"),
        [(State.IDLE, State.DOWNLOADING)],
    ),
    (
        "M410,195 H536",
        "",
        (0, 0, "middle"),
        [(State.DOWNLOADING, State.WAITING)],
    ),
    ("M305,172 L268,100", "", (0, 0, "middle"), [(State.DOWNLOADING, State.NEEDS_URL)]),
    ("M240,93 L285,165", "", (0, 0, "middle"), [(State.NEEDS_URL, State.DOWNLOADING)]),
    ("M362,172 L398,100", "", (0, 0, "middle"), [(State.DOWNLOADING, State.PAUSED)]),
    ("M425,93 L380,165", "", (0, 0, "middle"), [(State.PAUSED, State.DOWNLOADING)]),
    (
        "M400,172 C500,95 710,95 790,165",
        "the gate is open at once",
        (600, 106, "middle"),
        [(State.DOWNLOADING, State.INSTALLING)],
    ),
    ("M700,187 H749", "", (0, 0, "middle"), [(State.WAITING, State.INSTALLING)]),
    ("M757,204 H708", "", (0, 0, "middle"), [(State.INSTALLING, State.WAITING)]),
    ("M913,195 H964", "", (0, 0, "middle"), [(State.INSTALLING, State.ACTIVATING)]),
    (
        "M660,218 C750,275 930,275 1008,225",
        "",
        (0, 0, "middle"),
        [(State.WAITING, State.ACTIVATING)],
    ),
    (
        "M996,218 C910,258 760,258 686,224",
        "asked again before each step",
        (835, 283, "middle"),
        [(State.ACTIVATING, State.WAITING)],
    ),
    (
        "M1065,218 V335",
        "by a reboot",
        (1073, 300, "start"),
        [(State.ACTIVATING, State.WAITING_FOR_REBOOT)],
    ),
    (
        "M1030,218 C1010,300 970,335 921,354",
        "",
        (0, 0, "middle"),
        [(State.ACTIVATING, State.VERIFYING)],
    ),
    ("M972,368 H921", "", (0, 0, "middle"), [(State.WAITING_FOR_REBOOT, State.VERIFYING)]),
    (
        "M757,365 H418",
        "",
        (0, 0, "middle"),
        [(State.VERIFYING, State.COMMITTING)],
    ),
    ("M254,365 H201", "", (0, 0, "middle"), [(State.COMMITTING, State.SUCCEEDED)]),
    (
        "M835,425 V543",
        "a failure, a closed window,",
        (845, 478, "start"),
        [
            (state, State.ROLLING_BACK)
            for state in (
                State.WAITING,
                State.INSTALLING,
                State.ACTIVATING,
                State.WAITING_FOR_REBOOT,
                State.VERIFYING,
            )
        ],
    ),
    (
        "M913,575 H1080 V397",
        "the new side runs already",
        (1000, 595, "middle"),
        [(State.ROLLING_BACK, State.WAITING_FOR_REBOOT)],
    ),
    (
        "M1110,388 V638 H505 V606",
        "",
        (0, 0, "middle"),
        [(State.WAITING_FOR_REBOOT, State.FAILED)],
    ),
    (
        "M757,575 H613",
        "",
        (0, 0, "middle"),
        [(State.ROLLING_BACK, end) for end in ENDS],
    ),
    (
        "M275,218 C227,245 224,260 224,290 V519",
        "",
        (0, 0, "middle"),
        [(State.DOWNLOADING, end) for end in ENDS],
    ),
    (
        "M585,218 V519",
        "nothing is touched yet",
        (594, 478, "start"),
        [(State.WAITING, State.REFUSED), (State.WAITING, State.CANCELLED)],
    ),
    (
        "M332,388 V519",
        "",
        (0, 0, "middle"),
        [(State.COMMITTING, State.FAILED)],
    ),
]

TEXTS: list[tuple[int, int, str, str, str]] = [
    (115, 160, "middle", "note", "or the last result"),
    (221, 185, "middle", "note", "new"),
    (520, 60, "start", "note", "both also while nothing is under way:"),
    (520, 76, "start", "note", "looking for updates does not work"),
    (470, 185, "middle", "note", "all there"),
    (600, 412, "start", "frame", "the old versions are valid"),
    (469, 350, "middle", "record", "commit record"),
    (469, 385, "middle", "note", "from here on"),
    (469, 400, "middle", "note", "the new versions"),
    (469, 415, "middle", "note", "are valid"),
    (233, 300, "start", "note", "a failure, cancelled"),
    (845, 494, "start", "note", "conditions lost, cancelled"),
    (340, 482, "start", "note", "the way back cannot"),
    (340, 496, "start", "note", "be given up"),
    (685, 565, "middle", "note", "old versions"),
    (685, 595, "middle", "note", "active again"),
    (835, 632, "middle", "note", "no reboot comes on the way back"),
]

STYLE = """
    text { font-family: system-ui, sans-serif; font-size: 13px; fill: #1f2430; }
    .name { font-size: 14.5px; font-weight: 600; text-anchor: middle; }
    .note { fill: #4a5263; font-size: 12.5px; }
    .frame { fill: #4a5263; font-size: 12.5px; font-style: italic; }
    .record { fill: #1f2430; font-size: 12.5px; font-weight: 700; }
    .ground { fill: #ffffff; stroke: #d5d9e0; }
    .group { fill: none; stroke: #8a93a5; stroke-dasharray: 6 5; }
    .arrow { fill: none; stroke: #5b6475; stroke-width: 1.6; marker-end: url(#tip); }
    .tip { fill: #5b6475; }
    .bar { stroke: #1f2430; stroke-width: 4; }
    .rests { fill: #eceff4; stroke: #8a93a5; }
    .works { fill: #dde9fb; stroke: #3d73c9; }
    .waits { fill: #fbeccb; stroke: #b98613; }
    .good { fill: #d9f1dc; stroke: #33883f; }
    .bad { fill: #fbdddd; stroke: #c04747; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6e9f0; }
      .note, .frame { fill: #b4bccb; }
      .record { fill: #ffffff; }
      .ground { fill: #12161e; stroke: #333b4a; }
      .group { stroke: #6f7a8f; }
      .arrow { stroke: #a3adbf; }
      .tip { fill: #a3adbf; }
      .bar { stroke: #ffffff; }
      .rests { fill: #262c38; stroke: #7b869b; }
      .works { fill: #1b2f52; stroke: #669bf5; }
      .waits { fill: #453512; stroke: #e8be60; }
      .good { fill: #173a1e; stroke: #73c97c; }
      .bad { fill: #4a1d20; stroke: #f06262; }
    }"""


def ways() -> set[Way]:
    """Every way from one shown state to another, as the steps of an attempt decide it."""
    found: set[Way] = set()
    # Who waits for bytes tells why, and goes on where it was (`bordnetz.ota.obtain`).
    for rest in (State.NEEDS_URL, State.PAUSED):
        found |= {(State.DOWNLOADING, rest), (rest, State.DOWNLOADING)}
    seen: set[tuple[str, int, bool, State]] = set()
    todo = [(_attempt(), 1, False, State.IDLE)]
    while todo:
        attempt, boot, gone, before = todo.pop()
        key = (attempt.model_dump_json(), boot, gone, before)
        if key in seen:
            continue
        seen.add(key)
        step = next_step(attempt, str(boot), discarded=gone)
        shown = _word(attempt, step)
        if shown is not None and shown is not before:
            found.add((before, shown))
        if step.act in (Act.CLOSE, Act.STUCK):
            continue
        if step.verb in (Verb.STAGE, Verb.INSTALL, Verb.ACTIVATE) and before is not State.WAITING:
            # The gate is asked, and is shut.
            found.add((before, State.WAITING))
            todo.append((attempt, boot, gone, State.WAITING))
            todo.append((_ended(attempt, Result.REFUSED), boot, gone, State.WAITING))
        now = shown or before
        if attempt.cancellable and before is not State.IDLE:
            todo.append((_ended(attempt, Result.CANCELLED), boot, gone, before))
        if attempt.cancellable and before is State.DOWNLOADING:
            todo.append((_ended(attempt, Result.REFUSED), boot, gone, before))
        todo += [(one, later, left, now) for one, later, left in _after(attempt, step, boot, gone)]
    return found


def picture() -> str:
    """The SVG.

    Raises:
        ValueError: It does not show what the steps decide.
    """
    drawn = {way for *_, its in ARROWS for way in its}
    if drawn != ways():
        raise ValueError(f"drawn alone: {drawn - ways()}; not drawn: {ways() - drawn}")
    if PLACES.keys() != set(State):
        raise ValueError("there are other states than those that have a place")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="States of an update">'
    )
    tip = (
        '  <marker id="tip" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6" markerHeight="6"'
        ' orient="auto"><path class="tip" d="M0,0 L8,4 L0,8 z"/></marker>'
    )
    lines = [
        head,
        f"  <style>{STYLE}",
        "  </style>",
        tip,
        f'  <rect class="ground" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10"/>',
        '  <rect class="group" x="524" y="140" width="632" height="285" rx="14"/>',
        '  <rect class="group" x="70" y="528" width="535" height="94" rx="14"/>',
        '  <path class="bar" d="M524,345 V385"/>',
    ]
    for path, label, (x, y, anchor), _ in ARROWS:
        lines.append(f'  <path class="arrow" d="{path}"/>')
        if label:
            lines.append(_text(x, y, anchor, "note", label))
    for state, (x, y, kind) in PLACES.items():
        lines.append(
            f'  <rect class="{kind}" x="{x - BOX // 2}" y="{y - TALL // 2}"'
            f' width="{BOX}" height="{TALL}" rx="9"/>'
        )
        lines.append(_text(x, y + 5, "middle", "name", state.value))
    lines += [_text(*text) for text in TEXTS]
    return "\n".join([*lines, "</svg>", ""])


def _text(x: int, y: int, anchor: str, kind: str, text: str) -> str:
    return f'  <text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _attempt() -> Attempt:
    targets = [
        Target(ecu, "hw", "name", 1, {"sha256": "0" * 64}, 1, "file", ()) for ecu in ("a", "b")
    ]
    members = tuple(Member(target=target, old=None) for target in targets)
    return Attempt(id="1", campaign=Campaign(id="c"), members=members)


def _ended(attempt: Attempt, result: Result) -> Attempt:
    return attempt.fail(Failure(result=result, kind="", words=""))


def _word(attempt: Attempt, step: Step) -> State | None:
    """What is shown while a step is taken; None: what was shown before."""
    if step.act is Act.REBOOT:
        return State.WAITING_FOR_REBOOT
    if step.act in (Act.CLOSE, Act.STUCK):
        return attempt.result.state
    if step.verb is None:
        return None
    if step.verb is Verb.OBTAIN:
        return State.DOWNLOADING
    back = State.ROLLING_BACK if attempt.failure else State.COMMITTING
    return _STATES.get(step.verb, back)


def _after(
    attempt: Attempt, step: Step, boot: int, gone: bool
) -> Iterator[tuple[Attempt, int, bool]]:
    """Every way that a step can end: the attempt, the boot, whether payloads are gone."""
    if step.act is Act.REBOOT:
        yield attempt, boot + 1, gone
        yield _not_booted(attempt, boot), boot, gone
    elif step.act is Act.RECORD:
        yield attempt.but(committed=True), boot, gone
    elif step.act is Act.DISCARD:
        yield attempt, boot, True
    elif step.act is Act.REPORT:
        yield attempt.but(handed=True), boot, gone
    elif step.verb is not None:
        verb = step.verb
        member = attempt.member(step.ecu).begin(verb).but(tries={})
        yield attempt.put(member.end(verb, 0)), boot, gone
        if verb in (Verb.COMMIT, Verb.ROLLBACK, Verb.CLEAN_UP):
            yield attempt.put(member.returned("").give_up(verb)), boot, gone
        else:
            yield _ended(attempt.put(member.returned("")), Result.FAILED), boot, gone
        if verb is Verb.ACTIVATE or (verb is Verb.ROLLBACK and boot < 3):
            yield attempt.put(member.end(verb, 0, str(boot))), boot, gone


def _not_booted(attempt: Attempt, boot: int) -> Attempt:
    """The reboot has not come, and is not waited for any more (`bordnetz.ota.waits`)."""
    if attempt.failure is None:
        return _ended(attempt, Result.FAILED)
    for member in attempt.members:
        if member.boots.get(Verb.ROLLBACK) == str(boot):
            attempt = attempt.put(member.give_up(Verb.ROLLBACK))
    return attempt


if __name__ == "__main__":
    Path(__file__).with_name("ota.svg").write_text(picture())
