"""What eight variants take that share their features, against one: `python -m benchmarks.comparing [--data FILE]`.

Both are whole runs of `finetune compare` from an empty home, Prefect's temporary server, the choice and the test split
included. The network is GPT-2's of 124M with random numbers, whose last block learns: what a training costs does not
depend on what the numbers are. The outcome goes into benchmarks/results/comparing/ and into docs/comparing.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import machine
from benchmarks.report import machine_words
from benchmarks.workload import PROJECT
from docs.generate import with_part

RESULTS = PROJECT / "benchmarks" / "results" / "comparing"
PAGE = PROJECT / "docs" / "comparing.md"
MOST = 2.5  # times as long as one
RATES = (2e-5, 5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 8e-4, 1e-3)
RECIPE: dict[str, Any] = {
    "recipe": "gpt2-small",
    "changes": {
        "model.weights": "scratch",
        "model.size": "gpt2-small",
        "classifier.trainable": "last_block",
        "balance.method": "undersample",
        "evaluation.natural_prevalence": False,  # nor are the messages that undersampling leaves out of interest
        "serving.engine": "torch",
        "serving.precision": "float32",
    },
}


def compared(variants: int, data: str | None) -> dict[str, Any]:
    """Compares so many variants in a new home; returns the seconds, and what was made."""
    with tempfile.TemporaryDirectory(prefix="finetune-comparing-") as folder:
        file = Path(folder) / "comparison.yaml"
        named = {f"{rate:g}": {"training.learning_rate": rate} for rate in RATES[:variants]}
        file.write_text(yaml.safe_dump({"name": "comparing", **RECIPE, "variants": named}, sort_keys=False))
        given = [f"--data.url={data}"] if data else []
        home = {"FINETUNE_HOME": f"{folder}/home", "COLUMNS": "200"}
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "flows", "compare", str(file), "--json", *given],
            cwd=PROJECT,
            env={**os.environ, **home},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - began
        result = json.loads(done.stdout.splitlines()[-1])
        assert [each["state"] for each in result["variants"]] == ["ran"] * variants
        made = [path.name for path in (Path(folder) / "home" / "store" / "features").iterdir()]
        assert len(made) == 1, "all variants share one features artifact"
        steps = {each["step"]: each["seconds"] for each in result["steps"]}
        return {
            "seconds": round(seconds, 1),
            "features_seconds": round(steps["features"], 1),
            "training_seconds": [round(each["seconds"], 1) for each in result["variants"]],
        }


def said(outcome: dict[str, Any]) -> str:
    """The outcome as the page has it."""
    one, eight = outcome["one"], outcome["eight"]
    slowest = max(eight["training_seconds"])
    return (
        f"Measured on {outcome['machine']}: one variant of GPT-2 124M (last block, the 1,494 messages that"
        f" undersampling leaves of the SMS Spam Collection) takes {one['seconds']:.0f} s from an empty home, features"
        f" ({one['features_seconds']:.0f} s), choice and test split included; **eight take {eight['seconds']:.0f} s,"
        f" {outcome['ratio']:.2f} times as long** (at most {MOST} were wanted). They share one features artifact, two"
        f" train at a time, and no training takes more than {slowest:.0f} s."
    )


def main() -> None:
    """Measures both, and writes the outcome and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparing", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="the address of the SMS Spam Collection's archive, where it is not fetched")
    data = parser.parse_args().data
    one, eight = compared(1, data), compared(len(RATES), data)
    ratio = round(eight["seconds"] / one["seconds"], 3)
    outcome = {"machine": machine_words(machine("cpu")), "one": one, "eight": eight, "ratio": ratio, "most": MOST}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "cpu-2-cores.json").write_text(json.dumps(outcome, indent=2) + "\n")
    PAGE.write_text(with_part(PAGE.read_text(), "eight", said(outcome)))
    print(said(outcome))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
