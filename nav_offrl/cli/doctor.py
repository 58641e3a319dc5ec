"""Check this machine and say how to mend what is missing.

`ok` is fine; `missing` bars a part that you may not need (training on a robot, ROS on a training
machine); `broken` is in the way of everybody. The exit status is 1 if anything is broken.

Examples:
  nav-offrl doctor
  nav-offrl doctor --json
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Args:
    """Arguments of `nav-offrl doctor`."""

    json: bool = False
    """Print the checks as JSON."""


def run(args: Args) -> int:
    """Print the checks; return 1 if something is broken."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from nav_offrl.doctor import examine

    checks = examine(Path.cwd())
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
        return int(any(check.status == "broken" for check in checks))
    console, table = Console(), Table("check", "status", box=SIMPLE_HEAD, padding=0)
    table.add_column("found", overflow="fold")
    colours = {"ok": "green", "missing": "yellow", "broken": "bold red"}
    for check in checks:
        status = f"[{colours[check.status]}]{check.status}[/]"
        table.add_row(escape(check.name), status, escape(check.found))
    console.print(table)
    for check in checks:
        if check.remedy:
            line = f"{check.name}: {check.remedy}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return int(any(check.status == "broken" for check in checks))
