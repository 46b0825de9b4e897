"""Teach a GPT to follow instructions, let it answer and have its answers judged: `finetune instruct`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.terminal.champion import promote_follower_command, rollback_follower_command
from flows.terminal.command_line import main as run_program
from flows.terminal.command_line import parse, with_fields
from flows.terminal.exits import announce
from flows.terminal.predict import answer_command
from flows.terminal.program import Parser, Program
from lib.recipes.instruct import InstructRecipe
from tasks.environment import home

if TYPE_CHECKING:
    from flows.use_cases.use_case import UseCase


def use_case() -> UseCase:
    """The steps, in order, and what becomes of their artifacts; imported late, because flags are read without them."""
    from flows.use_cases.instruct import INSTRUCT

    return INSTRUCT


def judge_command(argv: Sequence[str]) -> int:
    """Score the answers of an earlier run; takes the flags of that run."""
    options, recipe = parse(argv, PROGRAM)
    announce(f"finetune instruct judge: the answers of recipe {recipe.name} that lie in {home()}")
    from flows.terminal.judge import judge

    return judge(options, recipe)


PROGRAM = Program(
    name="instruct",
    description="Teach a GPT to follow instructions, let it answer and have its answers judged; or ask one.",
    model=InstructRecipe,
    use_case=use_case,
    commands={
        "answer": answer_command,
        "judge": judge_command,
        "promote": promote_follower_command,
        "rollback": rollback_follower_command,
    },
)


def parser() -> Parser:
    """All flags, with the default recipe's values."""
    return with_fields(PROGRAM, PROGRAM.recipe(PROGRAM.default_recipe))


def main(argv: Sequence[str]) -> int:
    """Does what the arguments ask for; returns the exit status."""
    return run_program(argv, PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
