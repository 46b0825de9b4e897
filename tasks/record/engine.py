"""Says in words what a run's classifier is served with, and what that was chosen by."""

from __future__ import annotations

from typing import Any

from lib.files.jsonfile import load_json
from lib.inference.engines.engine import REFERENCE
from lib.inference.engines.saved import TABLE
from lib.store.artifacts import Artifact


def served_with(engine: Artifact) -> str:
    """Returns the engine that was chosen, and, where it was measured, how it compares with torch in float32."""
    table = load_json(engine.file(TABLE))
    rows = {row["name"]: row for row in table["candidates"]}
    chosen, reference = rows.get(table["chosen"]), rows.get(REFERENCE)
    if chosen is None:
        return str(table["chosen"])
    speed = f"{chosen['messages_per_second']:,.0f} messages/s, {chosen['milliseconds']:.2g} ms for one"
    if reference is not None and chosen is not reference:
        speed += f" ({chosen['messages_per_second'] / reference['messages_per_second']:.1f} times {REFERENCE})"
    flips = f"{chosen['flips']:,} of {chosen['messages']:,} validation messages get another label than in float32"
    return f"{table['chosen']}: {speed}; {flips}"


def engine_table(engine: Artifact) -> list[dict[str, Any]]:
    """Returns a row for each candidate, as a page shows them; none where nothing was measured."""
    return [_row(row) for row in load_json(engine.file(TABLE))["candidates"]]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if "flips" not in row:
        return {"candidate": row["name"], "why not": row["refused"]}
    return {
        "candidate": row["name"],
        "flips": f"{row['flips']:,} of {row['messages']:,}",
        "largest difference": f"{row['largest_difference']:.3g}",
        "99 % below": f"{row['difference_99']:.3g}",
        "accuracy": f"{row['accuracy']:.2%}",
        "messages/s": f"{row['messages_per_second']:,.0f}",
        "ms for one": f"{row['milliseconds']:.2f}",
        "why not": row["refused"] or "",
    }
