"""Sizes as people write them."""

import re

SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
SIZE_EXAMPLES = "500MB, 5GB or 2GiB"


def parsed_size(text: str) -> int | None:
    """Returns `500MB` or `2GiB` in bytes; None if it is no size."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?) ?([A-Za-z]+)", text)
    if not match or match[2].upper() not in SIZES:
        return None
    return int(float(match[1]) * SIZES[match[2].upper()])
