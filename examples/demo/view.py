"""From a snapshot to what the terminal shows.  Pure: nothing here reads a clock, a terminal or a cluster.

Colours mean the same everywhere: green is well or done, cyan works, yellow waits, red has failed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .checks import Check
from .snapshot import Attempt, Container, ReplicaSet, Row, Snapshot, Status

WELL, BUSY, WAITS, BAD, QUIET = "green", "cyan", "yellow", "red", "bright_black"
STATES = {"done": ("✓", WELL), "running": ("▸", BUSY), "waiting": ("·", QUIET), "failed": ("✗", BAD)}
ROWS = {"succeeded": WELL, "running": BUSY, "failed": BAD, "unknown": BAD}
WIDEST = 120
BODY = 4  # lines in each box of a terminal of 24 lines


@dataclasses.dataclass(frozen=True)
class Scene:
    """The act that a snapshot belongs to. ``doing``: what the demo itself is at."""

    number: int
    of: int
    title: str
    text: str
    doing: str = ""
    checks: Sequence[Check] = ()


def frame(now: Snapshot, scene: Scene, width: int, height: int) -> RenderableType:
    """The whole picture, not wider than ``width`` and, from 24 lines on, not higher than ``height`` - 1."""
    width = min(width, WIDEST)
    body = BODY if height < 30 else BODY + 1
    parts: list[RenderableType] = [_header(now, scene, width), _words(scene, width)]
    parts += [_boxes(now, width, body), _traffic(now)]
    room = height - 1 - 1 - _lines_of(scene.text, width) - 2 * (body + 2) - 1
    parts += _checks(scene.checks, room, width)
    return Group(*parts)


def _header(now: Snapshot, scene: Scene, width: int) -> Table:
    line = Table.grid(expand=False, padding=(0, 1))
    line.width = width
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    left = Text.assemble((f" Act {scene.number} of {scene.of}", "bold cyan"), ("  ", ""), (scene.title, "bold"))
    line.add_row(left, Text(f"{scene.doing}  {clock(now.seconds)} " if scene.doing else f"{clock(now.seconds)} ", QUIET))
    return line


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _words(scene: Scene, width: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.width = width
    grid.add_row(Text(scene.text))
    return grid


def _lines_of(text: str, width: int) -> int:
    """How many lines ``_words`` takes: greedy filling, as rich does."""
    lines, used = 1, 0
    for word in text.split():
        if used and used + 1 + len(word) > width - 1:
            lines, used = lines + 1, 0
        used += len(word) + (1 if used else 0)
    return lines


def _boxes(now: Snapshot, width: int, body: int) -> Table:
    grid = Table.grid(expand=False)
    left = width // 2
    grid.add_column(width=left)
    grid.add_column(width=width - left)
    pairs = [
        (
            _box(f"Deployment {now.app}", _deployment(now)),
            _box(f"SchemaMigration {now.app}", _status(now, width - left, body), wraps=True),
        ),
        (_box(_job_title(now), _job(now)), _box("Database", _database(now, body))),
    ]
    for pair in pairs:
        for one in pair:
            one.height = body + 2
        grid.add_row(*pair)
    return grid


def _box(title: str, lines: Sequence[Text], wraps: bool = False) -> Panel:
    """``wraps``: a message does; a line of a list ends where the box does."""
    inside = Text("\n").join(lines)
    inside.no_wrap, inside.overflow = not wraps, "fold" if wraps else "ellipsis"
    return Panel(inside, title=Text(title, "bold"), title_align="left", border_style=QUIET, box=box.ROUNDED)


# Deployment


def _deployment(now: Snapshot) -> list[Text]:
    here = now.deployment
    if not here.version:
        return [Text("not there yet", QUIET)]
    if here.held:
        state = Text(f"held for {here.held}", f"bold {WAITS}")
    else:
        state = Text("paused", WAITS) if here.paused else Text(f"released for {here.approved or here.version}", WELL)
    lines = [Text.assemble("wants ", (here.version, "bold"), "  ", state)]
    lines += [_replica_set(now, one) for one in _shown(now)]
    if here.version not in {one.version for one in now.replica_sets}:
        lines.append(Text.assemble(("○○", QUIET), f" {here.version}  ", ("no ReplicaSet yet", QUIET)))
    return lines[:BODY]


def _shown(now: Snapshot) -> list[ReplicaSet]:
    """The one that is wanted, and those that have or want pods."""
    wanted = now.deployment.version
    return [one for one in now.replica_sets if one.wanted or one.ready or one.version == wanted]


def _replica_set(now: Snapshot, one: ReplicaSet) -> Text:
    missing = max(0, (one.wanted or now.deployment.replicas) - one.ready)
    dots = Text("●" * one.ready + "○" * missing, WELL if one.ready else QUIET)
    if one.wanted == one.ready == 0:
        words = Text("0 ready" if not now.deployment.held else "no pods: waits", QUIET)
    else:
        words = Text(f"{one.ready}/{one.wanted} ready", WELL if one.ready >= one.wanted else BUSY)
    return Text.assemble(dots, f" {one.version}  ", words, (f"  {one.name}", QUIET))


# SchemaMigration


def _status(now: Snapshot, width: int, body: int) -> list[Text]:
    status = now.status
    if not status.reason:
        return [Text("no status yet", QUIET)]
    colour = WELL if status.ready else BAD if status.stalled else WAITS
    word = "Stalled" if status.stalled else f"Ready={status.ready}"
    lines = [Text.assemble((f"{word}  {status.reason}", f"bold {colour}"), (f"  {status.version}", QUIET))]
    if status.contract.reason:
        lines.append(_contract(status))
    waits = status.ready and status.contract.reason and not status.contract.done
    message = status.contract.message if waits else status.message
    return [*lines, Text(clip(message, (width - 4) * (body - len(lines)), width - 4))]


def _contract(status: Status) -> Text:
    done = status.contract.done
    return Text(f"Contracted={done}" + ("" if done else f"  {status.contract.reason}"), WELL if done else WAITS)


def clip(message: str, room: int, line: int) -> str:
    """The last line, because a command's cause of death is usually there; its start and its end if it is long."""
    text = " ".join(message.strip().rpartition("\n")[2].split())
    room -= line // 3  # what wrapping at words may cost
    if len(text) <= room:
        return text
    tail = room // 2
    return f"{text[: room - tail - 3].rstrip()} … {text[-tail:].lstrip()}"


# Job


def _job_title(now: Snapshot) -> str:
    return f"Job {now.attempt.job} {_purpose(now.attempt)}" if now.attempt else "Job"


def _purpose(attempt: Attempt) -> str:
    return f"to {attempt.version}" if attempt.phase == "expand" else f"contract of {attempt.version}"


def _job(now: Snapshot) -> list[Text]:
    if now.attempt is None:
        return [Text("none yet", QUIET)]
    return [_container(one) for one in now.attempt.containers]


def _container(one: Container) -> Text:
    sign, colour = STATES[one.state]
    return Text.assemble((f"{sign} ", colour), f"{one.name:8}", (one.state, colour), (f"  {one.detail}", QUIET))


# Database


def _database(now: Snapshot, body: int) -> list[Text]:
    lock = Text("free", QUIET)
    if now.lock:
        lock = Text.assemble((f"held: {now.lock.pod}", BUSY), (f", pid {now.lock.pid}", QUIET))
    lines = [Text.assemble("lock   ", lock)]
    rows = now.rows[-(body - 1) :]
    if not rows:
        return [*lines, Text.assemble("ledger ", ("empty", QUIET))]
    return lines + [_row(row, "ledger " if row is rows[0] else " " * 7) for row in rows]


def _row(row: Row, margin: str) -> Text:
    code = "" if row.exit_code is None else f"  exit {row.exit_code}"
    state = (row.state, ROWS.get(row.state, QUIET))
    return Text.assemble(margin, (f"{row.id} ", QUIET), f"{_run(row)} ", state, (code, QUIET))


def _run(row: Row) -> str:
    return row.version if row.phase == "expand" else f"{row.version} contract"


# Below the boxes


def _traffic(now: Snapshot) -> Text:
    traffic = now.traffic
    if not traffic.answered:
        return Text(f" requests  none answered yet: nobody serves {now.app}", QUIET)
    by = "  ".join(f"{version} {n}" for version, n in sorted(traffic.versions.items()))
    failed = Text(f"{traffic.failed} failed", BAD if traffic.failed else WELL)
    return Text.assemble(" requests  ", (f"{traffic.answered} answered", WELL), (f" ({by})  ", QUIET), failed)


def _checks(checks: Sequence[Check], room: int, width: int) -> Iterator[Text]:
    for check in checks[: max(0, room)]:
        sign, colour = ("✓", WELL) if check.ok else ("·", WAITS)
        line = Text.assemble((f" {sign} ", colour), f"{check.what:24}", (check.seen, "" if check.ok else QUIET))
        line.truncate(width, overflow="ellipsis")
        yield line


# After an act, and at the end


def act_report(scene: Scene, checks: Sequence[Check], seconds: float) -> Group:
    well = all(check.ok for check in checks)
    head = Text.assemble(
        (f"{'✓' if well else '✗'} Act {scene.number}", f"bold {WELL if well else BAD}"),
        (f"  {scene.title}", "bold"),
        (f"  {seconds:.0f} s", QUIET),
    )
    return Group(head, *(_result(check) for check in checks))


def _result(check: Check) -> Text:
    if check.ok:
        return Text.assemble(("    ✓ ", WELL), f"{check.what:24}", (check.seen, QUIET))
    return Text.assemble(("    ✗ ", BAD), f"{check.what:24}", (f"{check.seen}, expected {check.expected}", BAD))


def table(checks: Sequence[Check]) -> Table:
    """What was checked."""
    result = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    for name in ("act", "check", "expected", "seen", "ok"):
        result.add_column(name, justify="center" if name in ("act", "ok") else "left", overflow="fold")
    for check, previous in zip(checks, [None, *checks], strict=False):
        if previous and previous.act != check.act:
            result.add_section()
        act = "all" if check.act == 0 else str(check.act)
        shown = act if previous is None or previous.act != check.act else ""
        ok = Text("✓", WELL) if check.ok else Text("✗", f"bold {BAD}")
        result.add_row(Text(shown, QUIET), check.what, Text(check.expected, QUIET), check.seen, ok)
    return result


def totals(last: Sequence[Snapshot]) -> Text:
    """``last``: the last look at each application."""
    traffic = [one.traffic for one in last]
    served = f"{sum(one.answered for one in traffic)} requests served, {sum(one.failed for one in traffic)} failed"
    work = f"{sum(one.attempts for one in last)} attempts; {sum(len(one.rows) for one in last)} ledger rows"
    lines = [f"{served}; {work}; {clock(max(one.seconds for one in last))} min"]
    return Text("\n".join([*lines, *(f"the last failure: {one.last_failure}" for one in traffic if one.failed)]))


def closing(checks: Sequence[Check]) -> Text:
    wrong = sum(1 for check in checks if not check.ok)
    if wrong:
        return Text(f"{wrong} of {len(checks)} checks failed", f"bold {BAD}")
    return Text(f"all {len(checks)} checks passed", f"bold {WELL}")


# Without a terminal: one line per change


def changes(before: Snapshot, now: Snapshot) -> list[str]:
    """What is different, a line each."""
    found = [*_hold_change(before, now), *_pod_changes(before, now), *_job_changes(before, now)]
    found += [*_database_changes(before, now), *_status_changes(before, now)]
    if now.traffic.failed > before.traffic.failed:
        found.append(f"requests    {now.traffic.failed} failed: {now.traffic.last_failure}")
    return [f"{clock(now.seconds):>5}  {line}" for line in found]


def _hold_change(before: Snapshot, now: Snapshot) -> Iterator[str]:
    here = now.deployment
    if here.held and here.held != before.deployment.held:
        yield f"deployment  held for {here.held}"
    if here.approved != before.deployment.approved and not here.held:
        yield f"deployment  released for {here.approved}"


def _pod_changes(before: Snapshot, now: Snapshot) -> Iterator[str]:
    for version in sorted({*before.pods, *now.pods}):
        old, new = before.pods_of(version), now.pods_of(version)
        if (old.live, old.ready) != (new.live, new.ready):
            yield f"pods        {version}: {new.ready} ready of {new.live}"


def _job_changes(before: Snapshot, now: Snapshot) -> Iterator[str]:
    if now.attempt is None:
        return
    same = before.attempt is not None and before.attempt.job == now.attempt.job
    if not same:
        yield f"job         {now.attempt.job} {_purpose(now.attempt)}"
    for one in now.attempt.containers:
        old = before.attempt.container(one.name) if same and before.attempt else Container(one.name)
        if one.state != old.state:
            detail = f" ({one.detail})" if one.detail and one.state != "running" else ""
            yield f"job         {now.attempt.job} {one.name} {one.state}{detail}"


def _database_changes(before: Snapshot, now: Snapshot) -> Iterator[str]:
    if now.lock != before.lock:
        yield f"lock        held by {now.lock.pod} (pid {now.lock.pid})" if now.lock else "lock        free"
    known = {row.id: row for row in before.rows}
    for row in now.rows:
        if row.id not in known or known[row.id].state != row.state:
            yield f"ledger      row {row.id}: {_run(row)} {row.state}"
    if now.has_legacy_name is False and before.has_legacy_name:
        yield "column      legacy_name is gone"


def _status_changes(before: Snapshot, now: Snapshot) -> Iterator[str]:
    status, old = now.status, before.status
    if (status.reason, status.message) != (old.reason, old.message) and status.reason:
        word = "stalled" if status.stalled else "ready" if status.ready else "not ready"
        yield f"status      {word}, {status.reason}: {clip(status.message, 300, 0)}"
    contract = status.contract
    if contract != old.contract and contract.reason:
        yield f"contract    {contract.reason}: {clip(contract.message, 300, 0)}"
