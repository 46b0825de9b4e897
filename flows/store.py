"""List, verify, prune and copy artifact stores.

finetune store list   [--json]
finetune store verify [--json]
finetune store prune  [--older-than 30d] [--to-size 5GB] [--unreferenced] [--damaged] [--dry-run] [--json]
finetune store copy   FROM TO [--json]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.table import Table

from flows.terminal.drawing import console
from flows.terminal.exits import announce, exit_status_of
from flows.terminal.program import Parser
from flows.terminal.say import say
from lib.progress import Progress
from lib.sizes import SIZE_EXAMPLES, parsed_size
from lib.store.housekeeping import Copied, Damage, Entry, Pruned, copy, list_artifacts, prune, verify
from lib.store.store import Reference, Store
from tasks.compare.names import MEASURES
from tasks.store import artifact_store, store_at

if TYPE_CHECKING:
    from tasks.registry.pruning import Leftover

EXIT_DAMAGED = 1
AGES = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def main(argv: Sequence[str]) -> int:
    """Does what the arguments ask for; returns the exit status: 1 if `verify` found damage, 2 for a mistake."""
    return exit_status_of(lambda: _do(parser().parse_args(argv)))


def _do(options: argparse.Namespace) -> int:
    if options.command == "copy":
        return _copy(store_at(options.source), store_at(options.target), options.json)
    store = artifact_store()
    announce(f"finetune store {options.command}: {store.place}")
    match options.command:
        case "list":
            return _list(store, options.json)
        case "verify":
            return _verify(store, options.json)
        case _:
            return _prune(store, options)


def parser() -> Parser:
    """The flags of the four commands."""
    parser = Parser(prog="finetune store", description="The artifact store: see docs/store.md", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="list | verify | prune | copy")
    about = {
        "list": "all artifacts, oldest first",
        "verify": "read every file and name the damaged ones; exit status 1 if there are any",
        "prune": "remove the artifacts that meet every given criterion, and what interrupted runs left behind",
        "copy": "copy all artifacts that another store lacks into it, where they are found as here",
    }
    parsers = {
        name: commands.add_parser(name, help=text, description=text, allow_abbrev=False) for name, text in about.items()
    }
    for command in parsers.values():
        command.add_argument("--json", action="store_true", help="print one JSON object")
    for name, text in (("source", "from"), ("target", "to")):
        place = f"the store to copy {text}: a folder, or s3://bucket/prefix"
        parsers["copy"].add_argument(name, metavar=text.upper(), help=place)
    add = parsers["prune"].add_argument
    add("--older-than", type=_age, metavar="AGE", help="only what was made longer ago: 12h, 30d, 8w")
    add("--to-size", type=_size, metavar="SIZE", help="oldest first, until the store is no larger: 500MB, 5GB, 2GiB")
    add("--unreferenced", action="store_true", help="only what no final artifact and no run in MLflow was made from")
    add("--damaged", action="store_true", help="only what is damaged; reads every file")
    add("--dry-run", action="store_true", help="remove nothing; say what would go")
    return parser


def _age(text: str) -> timedelta:
    """`12h`, `30d` or `8w`."""
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age: write hours, days or weeks as in 12h, 30d or 8w")
    return int(match[1]) * AGES[match[2]]


def _size(text: str) -> int:
    """`500MB` or `2GiB` in bytes."""
    size = parsed_size(text)
    if size is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write a number and a unit as in {SIZE_EXAMPLES}")
    return size


def _list(store: Store, as_json: bool) -> int:
    entries = list_artifacts(store, *_needed())
    if as_json:
        artifacts = [entry.model_dump(mode="json") for entry in entries]
        print(json.dumps({"store": store.place, "artifacts": artifacts}))  # noqa: T201
        return 0
    table = Table("artifact", "size", "made (UTC)", "seconds", "referenced")
    for entry in entries:
        seconds = "unknown" if entry.seconds is None else f"{entry.seconds:.2f}"
        table.add_row(*_facts(entry), seconds, "yes" if entry.referenced else "no")
    console().print(table)
    say(f"{_count(len(entries), 'artifact')}, {decimal(sum(entry.size for entry in entries))}, in {store.place}")
    return 0


def _needed() -> tuple[set[str], set[Reference]]:
    """The steps whose artifacts are what runs are made for, and the artifacts that MLflow's runs are made of, or will
    be once their records are delivered."""
    from flows.use_cases.classify import CLASSIFY
    from flows.use_cases.instruct import INSTRUCT
    from tasks.record.mlflow_run import artifacts_of_runs
    from tasks.record.outbox import Outbox

    final = {step.name for use_case in (CLASSIFY, INSTRUCT) for step in use_case.final} | MEASURES
    return final, artifacts_of_runs() | Outbox().references()


def _verify(store: Store, as_json: bool) -> int:
    checked = 0
    with _shown("verified") as show:

        def seen(done: int, total: int | None, unit: str) -> None:
            nonlocal checked
            checked = done
            show(done, total, unit)

        damaged = verify(store, seen)
    if as_json:
        found = [damage.model_dump(mode="json") for damage in damaged]
        print(json.dumps({"store": store.place, "verified": checked, "damaged": found}))  # noqa: T201
    else:
        _show_damage(damaged)
        say(f"{_count(checked, 'artifact')} verified, {len(damaged) or 'none'} damaged, in {store.place}")
    return EXIT_DAMAGED if damaged else 0


@contextmanager
def _shown(verb: str) -> Iterator[Progress]:
    """Yields what shows how far something has come."""
    with console(stderr=True).status("") as status:
        yield lambda done, total, unit: status.update(f"{verb} {done} of {total} {unit}")


def _copy(source: Store, target: Store, as_json: bool) -> int:
    announce(f"finetune store copy: {source.place} to {target.place}")
    with _shown("copied") as show:
        copied = copy(source, target, show)
    if as_json:
        print(json.dumps({"from": source.place, "to": target.place, **copied.model_dump(mode="json")}))  # noqa: T201
    else:
        _show_copied(copied, target.place)
    return EXIT_DAMAGED if copied.damaged else 0


def _show_copied(copied: Copied, place: str) -> None:
    _show_damage(copied.damaged)
    done = f"{_count(copied.artifacts, 'artifact')} copied, {decimal(copied.size)}, to {place}"
    left = f"{copied.present:,} there already, {len(copied.damaged) or 'none'} damaged and left out"
    say(f"{done}; {left}")


def _show_damage(damaged: Sequence[Damage]) -> None:
    if damaged:
        table = Table("artifact", "damage")
        for damage in damaged:
            table.add_row(f"{damage.step}/{damage.key[:12]}", "\n".join(damage.problems))
        console().print(table)


def _prune(store: Store, options: argparse.Namespace) -> int:
    from tasks.registry.pruning import prune_home

    pruned = prune(
        store,
        *_needed(),
        older_than=options.older_than,
        to_size=options.to_size,
        unreferenced=options.unreferenced,
        damaged=options.damaged,
        dry_run=options.dry_run,
    )
    beside = prune_home(unreferenced=options.unreferenced, dry_run=options.dry_run)
    if options.json:
        more = {"beside": [leftover.model_dump() for leftover in beside]}
        print(json.dumps({"store": store.place, **pruned.model_dump(mode="json"), **more}))  # noqa: T201
        return 0
    _show_pruned(pruned)
    _show_beside(beside, dry_run=options.dry_run)
    if options.to_size is not None and pruned.remaining > options.to_size:
        say(f"that is more than the {decimal(options.to_size)} asked for: nothing else may go")
    return 0


def _show_pruned(pruned: Pruned) -> None:
    would = "would be " if pruned.dry_run else ""
    if pruned.artifacts or pruned.leftovers:
        table = Table(f"{would}removed", "size", "made (UTC)")
        for entry in pruned.artifacts:
            table.add_row(*_facts(entry))
        for leftover in pruned.leftovers:
            table.add_row(leftover, "", "")
        console().print(table)
    if pruned.in_use:
        them = "it" if len(pruned.in_use) == 1 else "them"
        say(f"{_count(len(pruned.in_use), 'artifact')} kept: a running process makes or needs {them}")
    removed = f"{_count(len(pruned.artifacts), 'artifact')} and {_count(len(pruned.leftovers), 'leftover')}"
    say(f"{removed} {would}removed: {decimal(pruned.freed)} {would}freed, {decimal(pruned.remaining)} in the store")


def _show_beside(beside: Sequence[Leftover], *, dry_run: bool) -> None:
    if beside:
        would = "would be " if dry_run else ""
        table = Table(f"{would}removed beside the store", "size", "why")
        for leftover in beside:
            table.add_row(leftover.path, decimal(leftover.size), leftover.why)
        console().print(table)
        freed = decimal(sum(leftover.size for leftover in beside))
        say(f"{_count(len(beside), 'thing')} beside the store {would}removed: {freed} {would}freed")


def _facts(entry: Entry) -> tuple[str, str, str]:
    return f"{entry.step}/{entry.key[:12]}", decimal(entry.size), f"{entry.created:%Y-%m-%d %H:%M}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
