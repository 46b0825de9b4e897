"""Teach a GPT to follow instructions, let it answer and have its answers judged: `finetune instruct`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.terminal.champion import promote_follower_command, rollback_follower_command
from flows.terminal.command_line import main, parse
from flows.terminal.predict import answer_command
from flows.terminal.program import Program
from lib.recipes.instruct import InstructRecipe

if TYPE_CHECKING:
    from flows.use_cases.use_case import UseCase


def use_case() -> UseCase:
    """The steps, in order, and what becomes of their artifacts; imported late, because flags are read without them."""
    from flows.use_cases.instruct import INSTRUCT

    return INSTRUCT


def judge_command(argv: Sequence[str]) -> int:
    """Score the answers of an earlier run; takes the flags of that run."""
    from flows.terminal.judge import judge

    return judge(*parse(argv, PROGRAM))


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

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PROGRAM))
