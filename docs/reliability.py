"""Makes the table of docs/reliability.md from what `make faults` has left in tests/faults/results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "tests" / "faults" / "results"


def outcomes_table(results: Path = RESULTS) -> str:
    """Markdown: all faults of all groups, what each group states beside them, and where and when it was tried."""
    groups = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))]
    rows = [_row(group, fault) for group in groups for fault in group["faults"]]
    faults = [fault for group in groups for fault in group["faults"]]
    tried, survived = (sum(fault[what] for fault in faults) for what in ("tried", "survived"))
    parts = [
        "| group | fault | tried | survived | lost | seconds, median | worst |\n|---|---|---:|---:|---:|---:|---:|\n"
        + "\n".join([*rows, f"| **all** | | **{tried:,}** | **{survived:,}** | **{tried - survived:,}** | | |"]),
        *(_beside(group) for group in groups),
    ]
    return "\n\n".join(parts)


def _row(group: Mapping[str, Any], fault: Mapping[str, Any]) -> str:
    seconds = fault["seconds"]
    times = (f"{seconds['median']:g}", f"{seconds['worst']:g}") if seconds else ("", "")
    lost = fault["tried"] - fault["survived"]
    cells = [_title(group), fault["fault"], f"{fault['tried']:,}", f"{fault['survived']:,}", f"{lost:,}", *times]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _beside(group: Mapping[str, Any]) -> str:
    """What was tried, where and when; what was lost; what else is stated."""
    versions = ", ".join(f"{name} {number}" for name, number in group["versions"].items())
    where = f"{group['date']}, commit {group['commit']}, {group['machine']}; {versions}"
    lost = [f"- lost: {fault['fault']}: {sentence}" for fault in group["faults"] for sentence in fault["lost"]]
    facts = [f"- {what}: {figure}" for what, figure in group["facts"].items()]
    listed = [*lost, *facts]
    return "\n".join([f"**{_title(group)}**: {group['about']} Tried {where}.", *([""] if listed else []), *listed])


def _title(group: Mapping[str, Any]) -> str:
    return str(group["group"]).replace("_", " ")
