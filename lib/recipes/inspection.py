"""The fields of `finetune inspect` that say how a file is read: those of a classifier's recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lib.recipes.sections import Column, Quoting, Section, Separator, Sheet, Text, TextEncoding


class TextFile(Section):
    """How the file is written."""

    member: Text | None = Field(default=None, description="the file inside an archive (null: the only one)")
    format: Literal["tsv", "csv", "jsonl", "parquet"] | None = Field(
        default=None, description="how the file is written (null: by its contents, or else by the ending of its name)"
    )
    encoding: TextEncoding = None
    separator: Separator = None
    sheet: Sheet = None
    text_column: Column | None = Field(
        default=None,
        description="the column with the texts: its name or its position (null: the one that looks like it)",
    )
    label_column: Column | None = Field(default=None, description="the same for the labels")
    quoting: Quoting = None


class InspectedFile(Section):
    """A file of data."""

    data: TextFile = TextFile()
