"""`python -m benchmarks.scale --messages 1e9 --tokens 30 --backbone gpt2 --workers 16`: what a run would take.

Prints tables for other sizes, backbones and machines, from the rates that were measured and are stored beside the
benchmarks. `--write` writes those of docs/scale.md, which are of one billion messages on sixteen machines; `--only`
prints one of them. Nothing is run or asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.scale.case import DATED, Case, Machine, Prices, numbers
from benchmarks.scale.measured import CARD, read
from benchmarks.scale.network import backbone
from benchmarks.scale.page import everything, write_page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the module says."""
    options = _parser().parse_args(arguments)
    if options.write:
        write_page()
        return 0
    found = everything(_case(options), read(options.measured), options.card)
    if options.only is not None:
        found = {options.only: found[options.only]}
    for name, table in found.items():
        sys.stdout.write(f"{name}\n\n{table}\n\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__, allow_abbrev=False)
    for kind, what in ((Case, ""), (Machine, ""), (Prices, f"; US dollars, of {DATED}")):
        for each in numbers(kind):
            flag = f"--{'price-' if kind is Prices else ''}{each.name}"
            help = f"{each.metadata['help']}{what} (default: {each.default:g})"
            parser.add_argument(flag, type=float, default=each.default, help=help.replace("%", "%%"), metavar="NUMBER")
    parser.add_argument("--backbone", type=backbone, default="gpt2", help="gpt2, or a size of our GPT")
    parser.add_argument("--measured", default="cpu-2-cores", help="the machine whose rates are used")
    parser.add_argument("--card", default=CARD, help=f"the card whose rate is used (default: {CARD})")
    parser.add_argument("--only", help="the name of a table")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md")
    return parser


def _case(options: argparse.Namespace) -> Case:
    def of(kind: type, prefix: str = "") -> dict[str, Any]:
        return {each.name: _as(each.default, getattr(options, f"{prefix}{each.name}")) for each in numbers(kind)}

    return Case(
        **of(Case), network=options.backbone, machine=Machine(**of(Machine)), prices=Prices(**of(Prices, "price_"))
    )


def _as(default: float, value: float) -> float:
    return type(default)(value)


if __name__ == "__main__":
    sys.exit(main())
