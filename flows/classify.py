"""Fine-tune, evaluate and register a text classifier: `finetune classify --recipe quickstart`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.terminal.champion import promote_command, rollback_command
from flows.terminal.command_line import main as run_program
from flows.terminal.command_line import with_fields
from flows.terminal.predict import predict_command
from flows.terminal.program import Parser, Program
from lib.recipes.classify import ClassifyRecipe

if TYPE_CHECKING:
    from flows.use_cases.use_case import UseCase


def use_case() -> UseCase:
    """The steps, in order, and what becomes of their artifacts; imported late, because flags are read without them."""
    from flows.use_cases.classify import CLASSIFY

    return CLASSIFY


PROGRAM = Program(
    name="classify",
    description="Fine-tune, evaluate and register a text classifier, or label texts with one.",
    model=ClassifyRecipe,
    use_case=use_case,
    commands={"predict": predict_command, "promote": promote_command, "rollback": rollback_command},
)


def parser() -> Parser:
    """All flags, with the default recipe's values."""
    return with_fields(PROGRAM, PROGRAM.recipe(PROGRAM.default_recipe))


def main(argv: Sequence[str]) -> int:
    """Does what the arguments ask for; returns the exit status."""
    return run_program(argv, PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
