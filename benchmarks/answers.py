"""`python -m benchmarks.answers [--recipe smollm2] [any flag of finetune instruct]`: what a run's model answers to the
test entries before and after its training; prints the lines of a table in Markdown."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from benchmarks.workload import PROJECT
from lib.data.tables import ANSWERS, ENTRIES, load_table
from lib.evaluation.instruct.answers import Answer, measure_answers
from lib.files.jsonfile import load_json
from lib.inference.answerer import Answerer
from lib.model.hugging_face.writing import pretrained_transformer
from lib.model.language_model import Writing
from lib.text.prompts import chosen_style
from lib.text.tokenizer import load_tokenizer

SHOWN = ("chrf", "exact_match", "stopped")


def main(flags: Sequence[str]) -> None:
    """Runs the recipe, or finds what it made before; then lets its weights answer as they came."""
    command = [sys.executable, "-m", "flows.instruct", "--recipe", "smollm2", "--json", *flags]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    steps = {step["step"]: step for step in json.loads(done.stdout.splitlines()[-1])["steps"]}
    folders = {name: Path(step["artifact"]["folder"]) for name, step in steps.items() if step["artifact"]}
    recipe = load_json(folders["finetune_instructions"] / "recipe.json")
    before, seconds = _before(folders, recipe)
    after = _rows(load_table(folders["respond"] / "answers.parquet", ANSWERS))
    trained = load_json(folders["finetune_instructions"] / "training.json")
    told = steps["finetune_instructions"]["seconds"], steps["respond"]["seconds"]
    lines = [
        "| | chrF | exact match | stopped | training | answering |",
        "|---|---|---|---|---|---|",
        f"| before | {_figures(before)} | | {seconds:.0f} s |",
        f"| after | {_figures(after)} | {told[0]:.0f} s | {told[1]:.0f} s |",
        f"\n{len(after)} test entries; {trained['trainable_parameters']:,} of {trained['parameters']:,} parameters"
        " learnt",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _before(folders: Mapping[str, Path], recipe: Mapping[str, Any]) -> tuple[list[dict[str, Any]], float]:
    """Returns the answers of the weights as they came, and the seconds that they took."""
    reader = load_tokenizer(folders["tokenizer"])
    limit = load_json(folders["tokenizer"] / "network.json")["context_length"]
    model = pretrained_transformer(folders["backbone"], context_length=limit, pad=reader.pad)
    style = chosen_style(recipe["prompt"]["style"], folders["tokenizer"])
    answerer = Answerer(model, style, reader, recipe["training"]["precision"], Writing(**recipe["respond"]))
    asked = load_table(folders["split_entries"] / "test.parquet", ENTRIES)
    started = perf_counter()
    written = answerer.write(list(zip(asked["instruction"], asked["input"], strict=True)))
    seconds = perf_counter() - started
    rows = zip(_rows(asked), written, strict=True)
    return [{**entry, **vars(answer)} for entry, answer in rows], seconds


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _figures(rows: Sequence[Mapping[str, Any]]) -> str:
    _, summary = measure_answers(
        [
            Answer(row["id"], row["response"], reference=row["output"], tokens=row["tokens"], stopped=row["stopped"])
            for row in rows
        ]
    )
    chrf, exact, stopped = (summary[name] for name in SHOWN)
    return f"{chrf:.1f} | {exact:.0%} | {stopped:.0%}"


if __name__ == "__main__":
    main(sys.argv[1:])
