"""Send MLflow what it does not have yet of earlier runs, because it was away: `finetune deliver`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flows.terminal.exits import announce, exit_status_of, say_error
from flows.terminal.program import Parser
from flows.terminal.say import say
from tasks.environment import home, tracking_uri

EXIT_WAITS = 2


def parser() -> Parser:
    """The flags."""
    parser = Parser(prog="finetune deliver", description=__doc__, allow_abbrev=False)
    everything = "those too that were meant for another server than the present one"
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--all", action="store_true", help=f"deliver {everything}")
    what.add_argument("--forget", metavar="ID", help="remove the record of this id instead: MLflow is not told of it")
    return parser


def main(argv: Sequence[str]) -> int:
    """Delivers what waits; returns the exit status: 2 if something still does."""
    return exit_status_of(lambda: _deliver(argv), kept="what is left waits in the outbox")


def _deliver(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from tasks.record.outbox import Outbox

    if options.forget is not None:
        Outbox().forget(options.forget)
        say(f"removed: {options.forget}")
        return 0
    announce(f"finetune deliver: from {home() / 'outbox'} to {tracking_uri()}")
    records, damaged = Outbox().records()
    delivered, waiting = 0, len(damaged)
    if records:
        from flows.run.delivery import deliver_all
        from tasks.temporary import temporary_files

        with temporary_files():
            for outcome in deliver_all(
                elsewhere=options.all
            ):  # said as they come: a slow server takes minutes for each
                record = outcome.record
                if outcome.why_not:
                    waiting += 1
                    say(f"waits: {record.name} ({record.id}): {outcome.why_not}")
                else:
                    delivered += 1
                    say(f"delivered: {record.name}, {record.status}, as MLflow's run {record.run}")
    for error in damaged:
        say_error(error)
    say(f"{delivered} delivered, {waiting or 'none'} waiting")
    return EXIT_WAITS if waiting else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
