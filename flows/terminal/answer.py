"""`python -m flows.instruct answer`: answers to questions, from the command line or standard input."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flows.terminal.program import Parser, standard_input_lines


def answer_command(argv: Sequence[str]) -> int:
    """Answers questions with a registered model that follows instructions, or with the one of a run.

    Prints each response; returns the exit status. Raises FinetuneError with one sentence.
    """
    parser = Parser(prog="python -m flows.instruct answer", allow_abbrev=False)
    parser.add_argument(
        "instructions", nargs="+", metavar="INSTRUCTION", help="what to do; - reads lines from standard input"
    )
    parser.add_argument("--input", default="", metavar="TEXT", help="what to do it with, for every instruction")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the registered model (default: the only one that has a champion)")
    which.add_argument("--run", help="the MLflow run whose model to use instead of a champion")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each instruction")
    options = parser.parse_args(argv)
    from tasks.use.answer import answer

    instructions = standard_input_lines() if options.instructions == ["-"] else options.instructions
    questions = [(instruction, options.input) for instruction in instructions]
    for (instruction, input_), response in zip(
        questions, answer(questions, name=options.name, run=options.run), strict=True
    ):
        if options.json:
            row = {"instruction": instruction, "input": input_, "response": response}
            print(json.dumps(row, ensure_ascii=False))  # noqa: T201 - this is the program's output
        elif len(questions) == 1:
            print(response)  # noqa: T201
        else:
            print(f"> {instruction}\n{response}\n")  # noqa: T201
    return 0
