"""Reads the texts of a request in MLflow's JSON forms: inputs, instances, dataframe_split, dataframe_records.

https://mlflow.org/docs/latest/ml/deployment/ describes them. MLflow's own reader answers errors with Python's words or
a stack trace; this one names the place in one sentence.
"""

import json
from collections.abc import Callable
from typing import Any

from lib.errors import MessagesError
from lib.inference.predictor import require_text

TEXT = "text"  # the column's name, where columns have names
LONGEST_QUOTE = 80  # characters of a wrong value quoted in an error
EXAMPLE = '{"inputs": ["first text", "second text"]}'


def texts_of(body: bytes) -> list[str]:
    """Returns the texts of a request, in order. Raises MessagesError if `body` is not JSON in one of the forms, has no
    texts, or if one is empty or not a string."""
    content = read_object(body, EXAMPLE)
    forms = [form for form in FORMS if form in content]
    if len(forms) != 1:
        raise MessagesError(
            f"the body must have exactly one of {', '.join(FORMS)}, and has {_quoted(list(content))}: write {EXAMPLE}"
        )
    (form,) = forms
    texts = FORMS[form](content[form], form)
    if not texts:
        raise MessagesError(f"{form} is empty: give at least one text, as in {EXAMPLE}")
    return [_text(text, position) for position, text in enumerate(texts, start=1)]


def text_of(body: bytes) -> str:
    """Returns the text of a request `{"text": "..."}`; raises MessagesError for anything else."""
    example = '{"text": "some text"}'
    content = read_object(body, example)
    if list(content) != [TEXT]:
        raise MessagesError(f"the body must have {TEXT!r} and nothing else, not {_quoted(list(content))}: {example}")
    return _text(content[TEXT], 1)


def read_object(body: bytes, example: str) -> dict[str, Any]:
    """Parses a body as a JSON object; raises MessagesError, with the `example`, if it is none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number without end; brackets without end
        raise MessagesError(f"the body is not JSON ({_reason(error)}): write {example}") from None
    if not isinstance(content, dict):
        raise MessagesError(f"the body is JSON, but not an object: write {example}")
    return content


def _listed(value: Any, form: str) -> list[Any]:
    """A list of strings, a list of records, or a column."""
    if isinstance(value, dict):  # MLflow's form for tables with named columns: {"text": ["...", "..."]}
        value = _field(value, form)
    if not isinstance(value, list):
        raise MessagesError(f"{form} is {_quoted(value)}: make it a list of texts, as in {EXAMPLE}")
    if value and all(isinstance(row, dict) for row in value):
        return _records(value, form)
    return value


def _records(value: Any, form: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise MessagesError(f'{form} must be a list of objects: write {{"{form}": [{{"{TEXT}": "first text"}}]}}')
    return [_field(row, f"row {number} of {form}") for number, row in enumerate(value, start=1)]


def _split(value: Any, form: str) -> list[Any]:
    example = f'{{"{form}": {{"columns": ["{TEXT}"], "data": [["first text"]]}}}}'
    columns, data = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list) or columns.count(TEXT) != 1:
        raise MessagesError(f"{form} must have data, and columns with one called {TEXT!r}: write {example}")
    place = columns.index(TEXT)
    for number, row in enumerate(data, start=1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise MessagesError(f"row {number} of {form} is not a list of {len(columns)}, one for each column")
    return [row[place] for row in data]


def _field(row: dict[str, Any], where: str) -> Any:
    if TEXT not in row:
        raise MessagesError(f"{where} has no {TEXT!r} but {_quoted(list(row))}: name the texts {TEXT!r}")
    return row[TEXT]


def _text(text: object, position: int) -> str:
    if not isinstance(text, str):
        raise MessagesError(f"text {position} is {_quoted(text)}: give each text as a string")
    require_text(text, position)
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too many brackets in one another"
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _quoted(value: object) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= LONGEST_QUOTE else f"{written[: LONGEST_QUOTE - 1]}…"


FORMS: dict[str, Callable[[Any, str], list[Any]]] = {
    "inputs": _listed,
    "instances": _listed,
    "dataframe_split": _split,
    "dataframe_records": _records,
}
