"""Prints a sheet of a workbook as JSON, in a process of its own: `python workbook_cells.py FILE BYTES_OUT [SHEET]`.

A few kilobytes can ask for all the memory that there is: two cells at opposite corners of a sheet, or one text for a
million of them. So this process has a limit of memory and of what it may write, and only it comes to its end there.

The first line is an object: `problem` (why nothing can be read), or `sheets`, `filled` (those with anything in them),
`chosen` and `width`. Each other line is a row, a list without the empty cells at its end: null, texts, booleans, and
floats for numbers.
"""

import json
import resource
import signal
import sys
from typing import Any

MEMORY = 2**31  # bytes of addresses; a sheet of twenty million cells needs a third of it
OUT_OF_MEMORY = 3  # the exit status; the library ends the process itself, by SIGABRT
PASSWORD, NO_SHEET = "password", "no such sheet"  # problems that have sentences of their own


def main(file: str, most: int, sheet: str | None) -> None:
    """Prints the lines."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # ends the process where it writes too much
    import python_calamine as calamine

    try:
        book = calamine.CalamineWorkbook.from_path(file)
        names = book.sheet_names
        if sheet is not None and sheet not in names:
            _print({"problem": NO_SHEET, "sheets": names})
            return
        filled = [name for name in names if book.get_sheet_by_name(name).height]
        chosen = sheet or next(iter(filled), next(iter(names), None))
        found = None if chosen is None else book.get_sheet_by_name(chosen)
    except calamine.PasswordError:
        _print({"problem": PASSWORD})
        return
    except calamine.CalamineError as error:
        _print({"problem": str(error)})
        return
    if found is not None and found.start is None:
        found = None
    _print({"sheets": names, "filled": filled, "chosen": chosen, "width": 0 if found is None else found.width})
    for row in () if found is None else found.iter_rows():  # without empty columns at the left
        cells = list(map(_cell, row))
        while cells and cells[-1] is None:
            del cells[-1]
        _print(cells)


def _cell(value: Any) -> Any:
    """Returns the value as JSON has it: nothing as null, dates in ISO 8601."""
    if value == "" and isinstance(value, str):
        return None
    return value if isinstance(value, float | str | bool) else str(value)


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
