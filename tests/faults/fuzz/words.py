"""Lists the words of each target's language, which a fuzzer would take long to find letter by letter."""

from __future__ import annotations

from collections.abc import Iterable

from lib.recipes.classify import ClassifyRecipe
from lib.recipes.fields import recipe_fields, section_names
from lib.recipes.instruct import InstructRecipe

YAML = (
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!int ",
    "!!binary ",
    "<<: ",
    "? ",
    "- ",
    "|\n",
    "---\n",
    "...\n",
)
JSON = ('":', '["', '{"', "null", "true", "1e999", "-0", "NaN", "\\ud83d", "\\u0000", "[[[[", "}\n{")
RECORDS = ("text", "label", "instruction", "input", "output", "messages", "role", "content", "conversations", "from")
MORE_RECORDS = (
    "value",
    "user",
    "assistant",
    "system",
    "human",
    "gpt",
    "prompt",
    "completion",
    "data",
    "columns",
    "split",
)
BODIES = ("inputs", "instances", "dataframe_split", "dataframe_records", "columns", "data", "text")
REQUESTS = ("Host: ", "Content-Length: ", "Transfer-Encoding: chunked", "Connection: close", "Expect: ", "\r\n\r\n")
FIELDS = ("text", "label", '"', '""', "\\", "\r\n", "\t", "|", ";", "\ufeff", "\x00", "\x1a")
TENSORS = ("dtype", "shape", "data_offsets", "__metadata__", "F32", "BF16", "F8_E4M3", "I64", "BOOL", "F4", "C64")


def _of_recipes() -> Iterable[str]:
    for model in (ClassifyRecipe, InstructRecipe):
        for path in (*section_names(model), *(field.path for field in recipe_fields(model))):
            yield f"{path.rpartition('.')[2]}: "


def words(target: str) -> list[str]:
    """Returns the words of a target; none where its language has none."""
    of: dict[str, Iterable[str]] = {
        "delimited": FIELDS,
        "json": (*JSON, *RECORDS, *MORE_RECORDS),
        "safetensors": (*JSON, *TENSORS),
        "recipe": (*YAML, *dict.fromkeys(_of_recipes())),
        "http": (*JSON, *BODIES, *REQUESTS),
    }
    return list(of.get(target, ()))


def dictionary(target: str) -> str:
    """Returns the words as libFuzzer reads them."""
    return "".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word.encode())) for word in words(target))
