"""The section `data` of a classifier's recipe: where the labelled texts come from, in one file or in given splits."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from lib.recipes.sections import (
    BadRows,
    Column,
    Quoting,
    Section,
    Separator,
    Sheet,
    Source,
    Text,
    TextColumn,
    TextEncoding,
)

# Defaults of each source; a recipe's own values win.
PRESETS: dict[str, dict[str, Any]] = {
    "sample": {
        "member": "SMSSpamSample",
        "sha256": "4d49d39dba84af3638225cd2dbe1c447b320b439bf665e3a49dfcdbb87adb286",
        "format": "tsv",
        "label_column": 0,
        "text_column": 1,
        "quoting": "none",
    },
    # Almeida and Gomez Hidalgo, SMS Spam Collection v.1, UCI Machine Learning Repository 228, CC BY 4.0
    "sms-spam": {
        "url": (
            "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
        ),
        "member": "SMSSpamCollection",
        "sha256": "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        "format": "tsv",
        "label_column": 0,
        "text_column": 1,
        "quoting": "none",
    },
    "file": {},
}


FilesOfASplit = Text | Annotated[tuple[Text, ...], Field(min_length=1)] | None


class Files(Section):
    """Splits that exist already, in files of their own, instead of `data.url`: each an https:// or file:// address or a
    path, or a list of them, which are all read, one after the other. A given validation or test split stays as it is:
    it is neither balanced nor divided, and its near-duplicates in train are only counted."""

    train: FilesOfASplit = Field(
        default=None, description="what is trained on, but for the splits that are split off it (null: no given splits)"
    )
    validation: FilesOfASplit = Field(default=None, description="the given validation split (null: split off train)")
    test: FilesOfASplit = Field(default=None, description="the given test split (null: split off train)")

    def given(self) -> dict[str, tuple[str, ...]]:
        """Returns the addresses of each split that is given, in the order train, validation, test."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: (value,) if isinstance(value, str) else value for name, value in values.items() if value is not None
        }

    @model_validator(mode="after")
    def _train_is_given(self) -> Files:
        given = self.given()
        if given and "train" not in given:
            raise ValueError(
                f"data.files has {' and '.join(given)} but no train: name the file to train on as data.files.train"
            )
        return self

    @model_validator(mode="after")
    def _each_file_is_named_once(self) -> Files:
        seen: dict[str, str] = {}
        for name, addresses in self.given().items():
            for address in addresses:
                if address in seen:
                    raise ValueError(
                        f"data.files names {address!r} twice, in {seen[address]} and in {name}: leave it out of one"
                    )
                seen[address] = name
        return self


class Data(Source):
    """Where the labelled texts come from and how their files are written."""

    presets: ClassVar = PRESETS
    bundled: ClassVar = "messages"

    source: Literal["sample", "sms-spam", "file"] = Field(
        default="file",
        description="the bundled sample, the SMS Spam Collection, or your own file at `data.url` or"
        " files in `data.files`",
    )
    format: Literal["tsv", "csv", "jsonl", "parquet"] | None = Field(
        default=None, description="how the file is written (null: by its contents, or else by the ending of its name)"
    )
    encoding: TextEncoding = None
    separator: Separator = None
    text_column: TextColumn = "text"
    label_column: Column = Field(
        default="label", description="the column with the labels: its name, or its position in a file without header"
    )
    quoting: Quoting = None
    sheet: Sheet = None
    bad_rows: BadRows = "error"
    empty_text: Literal["error", "drop"] = Field(
        default="error", description="what to do with a row whose text is empty: refuse the file, or leave the row out"
    )
    files: Files = Files()

    def has_a_place(self) -> bool:
        """Whether it is known where the texts lie."""
        return self.url is not None or bool(self.files.given())

    @model_validator(mode="after")
    def _given_splits_are_the_only_source(self) -> Data:
        if not self.files.given():
            return self
        if self.source != "file":
            raise ValueError(
                f"data.files names files of your own, but data.source is {self.source!r}: set it to 'file', or leave"
                " data.files out"
            )
        if self.url is not None:
            raise ValueError("data.url and data.files both say where the texts are: leave one of them out")
        for name in ("sha256", "member"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is about the one file of data.url: leave it out with data.files")
        return self

    @model_validator(mode="after")
    def _columns_agree(self) -> Data:
        if isinstance(self.text_column, int) != isinstance(self.label_column, int):
            raise ValueError(
                "data.text_column and data.label_column must both be names (a file with a header row)"
                " or both positions (a file without one)"
            )
        if self.text_column == self.label_column:
            raise ValueError("data.text_column and data.label_column are the same column: name two")
        return self
