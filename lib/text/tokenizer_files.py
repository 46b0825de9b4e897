"""Names the files of a tokenizer in Hugging Face layout, and reads their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.files.jsonfile import read_strange_json

TOKENIZER = "tokenizer.json"  # the whole tokenizer, as the package `tokenizers` reads it
SETTINGS = "tokenizer_config.json"  # special tokens by their roles, and what else transformers wants to know
ROLES_FILE = "special_tokens_map.json"  # older folders name special tokens there
TEMPLATE = "chat_template.jinja"


def read_object(file: Path) -> dict[str, Any]:
    """Reads a JSON object; no file is an empty one. Raises WeightsError for anything else."""
    try:
        fields = read_strange_json(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error.strerror}): get the file again") from error
    except ValueError as error:
        raise WeightsError(f"{file} is not JSON ({error}): get the file again") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{file} is not a JSON object: get the file again")
    return fields


def token_text(value: Any) -> str | None:
    """Returns the text of a special token in a settings file, which may be an object with `content`; None for none."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
