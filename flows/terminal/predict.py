"""`python -m flows.classify predict`: labels for texts, from the command line or standard input."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flows.terminal.program import Parser, standard_input_lines


def predict_command(argv: Sequence[str]) -> int:
    """Labels texts with a registered classifier, or with the one of a run.

    Prints a line for each text; returns the exit status. Raises FinetuneError with one sentence.
    """
    parser = Parser(prog="python -m flows.classify predict", allow_abbrev=False)
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="what to classify; - reads lines from standard input")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--name", help="the registered model (default: the only one that has a champion)")
    which.add_argument("--run", help="the MLflow run whose classifier to use instead of a champion")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each text")
    options = parser.parse_args(argv)
    from tasks.use.predict import predict

    texts = standard_input_lines() if options.texts == ["-"] else options.texts
    for text, answer in zip(texts, predict(texts, name=options.name, run=options.run), strict=True):
        if options.json:
            print(json.dumps({"text": text, **answer}, ensure_ascii=False))  # noqa: T201 - this is the program's output
        else:
            shares = ", ".join(
                f"{name.removeprefix('probability_')} {share:.1%}"
                for name, share in answer.items()
                if name.startswith("probability_")
            )
            print(f"{answer['label']}\t{shares}\t{text}")  # noqa: T201
    return 0
