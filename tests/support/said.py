"""What a command says on standard error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Lines = Callable[[], list[dict[str, Any]]]  # what was logged so far, one JSON object a line


def after_the_first_line(said: str) -> str:
    """What comes after the line that says what is about to happen, which must be there."""
    first, _, rest = said.partition("\n")
    assert re.fullmatch(r"finetune \w+( \w+)?: \S.*", first), f"no line says what is about to happen: {said}"
    return rest
