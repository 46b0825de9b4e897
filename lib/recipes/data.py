"""The section `data` of a classifier's recipe: where the labelled texts come from, in one file or in given splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from lib.recipes.fields import MAPPING
from lib.recipes.sections import (
    HUB,
    BadRows,
    Column,
    Described,
    FileFormat,
    Label,
    Quoting,
    Section,
    Separator,
    SeveralFiles,
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
    "hub": {},
}


def _names_of_labels(given: Any) -> Any:
    """Converts `{name: [spelling, ...]}`, where one spelling needs no list, to a list, which keeps the order: a key
    that is made of the recipe has names in alphabetical order. What YAML takes for a switch stands for all ways to
    write it."""
    if not isinstance(given, Mapping):
        return given
    lists = {name: [each] if isinstance(each, str | int | float) else each or [] for name, each in given.items()}
    return [{name: _spellings(several)} for name, several in lists.items()]


def _spellings(several: Any) -> Any:
    if not isinstance(several, list | tuple):
        return several
    ways = {True: ["true", "True", "TRUE"], False: ["false", "False", "FALSE"]}
    return [way for each in several for way in (ways[each] if isinstance(each, bool) else [each])]


Spellings = dict[Label, tuple[Label, ...]]
LabelNames = Annotated[
    Annotated[tuple[Label, ...] | tuple[Spellings, ...], Field(min_length=1)] | None,
    BeforeValidator(_names_of_labels),
    Described(f"{MAPPING}name: [spelling, …]}}, a list of names or null"),
]


def names_of_labels(labels: tuple[str, ...] | tuple[Spellings, ...] | None) -> Spellings | tuple[str, ...] | None:
    """Returns the field `data.labels` as it was written: a mapping of names to spellings, a list of names, or None."""
    merged: Spellings = {}
    names: list[str] = []
    for each in labels or ():
        if isinstance(each, str):
            names.append(each)
        else:
            merged |= each
    return merged or tuple(names) or None


class Files(Section):
    """Several files instead of `data.url`: addresses, paths, folders and patterns such as `in/*.csv`, one or a list,
    which are all read, one after the other. Written without names (`files: [a.csv, b.csv]`) they are all train's.
    Splits that exist already have a name each: a given validation or test split stays as it is, is neither balanced nor
    divided, and its near-duplicates in train are only counted."""

    unnamed: ClassVar = "train"  # the field of what is written without a name

    train: SeveralFiles = Field(
        default=None, description="what is trained on, but for the splits that are split off it (null: no given splits)"
    )
    validation: SeveralFiles = Field(default=None, description="the given validation split (null: split off train)")
    test: SeveralFiles = Field(default=None, description="the given test split (null: split off train)")

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


class Members(Section):
    """Splits that exist already, inside the one archive of `data.url`."""

    train: Text | None = Field(default=None, description="the file inside the archive to train on")
    validation: Text | None = Field(default=None, description="the given validation split (null: split off train)")
    test: Text | None = Field(default=None, description="the given test split (null: split off train)")

    def given(self) -> dict[str, str]:
        """Returns the file of each split that is named."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class HubSplits(Section):
    """Which splits of `data.repository` are read, by their names there. Without any, those that are called train,
    validation (or valid, val, dev) and test."""

    train: Text | None = Field(default=None, description="the repository's split to train on")
    validation: Text | None = Field(default=None, description="its validation split (null: split off train)")
    test: Text | None = Field(default=None, description="its test split (null: split off train)")

    def given(self) -> dict[str, str]:
        """Returns the repository's name of each split that is named."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class Data(Source):
    """Where the labelled texts come from and how their files are written."""

    presets: ClassVar = PRESETS
    bundled: ClassVar = "messages"

    source: Literal["sample", "sms-spam", "file", "hub"] = Field(
        default="file",
        description="the bundled sample, the SMS Spam Collection, your own file at `data.url` or files in `data.files`,"
        " or the data set `data.repository` on a Hugging Face hub",
    )
    format: FileFormat = Field(
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
    empty_label: Literal["error", "drop"] = Field(
        default="error", description="what to do with a row without a label: refuse the file, or leave the row out"
    )
    labels: LabelNames = Field(
        default=None,
        description="names and order of the classes. {name: [spelling, …]} renames and merges labels, and leaves others"
        " as they are; a list of names is all of the classes, and rows with other labels are left out (null: the labels"
        " of the file, in alphabetical order)",
    )
    rare_labels: Literal["error", "drop", "merge"] = Field(
        default="error",
        description="what to do with labels of few rows: refuse the file, leave their rows out, or put them all into"
        " one class",
    )
    rare_label_rows: int | None = Field(
        default=None,
        ge=2,
        description="labels with fewer rows than this are rare (null: than there are splits to be made, each of which"
        " needs one)",
    )
    rare_label_name: Label = Field(default="other", description="with rare_labels merge, what that class is called")
    files: Files = Files()
    members: Members = Members()
    splits: HubSplits = HubSplits()

    def given_files(self) -> dict[str, tuple[str, ...]]:
        """Returns what `data.files` names for each split, in the order train, validation, test."""
        return self.files.given()

    @model_validator(mode="after")
    def _splits_are_of_a_repository(self) -> Data:
        given = self.splits.given()
        if given and self.source != HUB:
            raise ValueError(
                f"data.splits is about a data set on a hub, but data.source is {self.source!r}: set it to {HUB!r}"
            )
        if given and "train" not in given:
            raise ValueError(
                f"data.splits has {' and '.join(given)} but no train: name the split to train on as data.splits.train"
            )
        return self

    @model_validator(mode="after")
    def _members_are_of_one_archive(self) -> Data:
        given = self.members.given()
        if not given:
            return self
        if "train" not in given:
            raise ValueError(
                f"data.members has {' and '.join(given)} but no train: name the file to train on as data.members.train"
            )
        if self.url is None:
            raise ValueError("data.members are files inside the archive of data.url: say where that is")
        for name in ("sha256", "member"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is about one data file: leave it out with data.members")
        return self

    @model_validator(mode="after")
    def _labels_are_named_once(self) -> Data:
        names = names_of_labels(self.labels) or ()
        spellings = names.values() if isinstance(names, Mapping) else [names]
        named = Counter(each.strip() for several in spellings for each in several)
        twice = next((name for name, count in named.items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"data.labels has {twice!r} twice: leave it out once")
        return self

    @model_validator(mode="after")
    def _rare_label_name_is_used(self) -> Data:
        if self.rare_labels != "merge" and self.changed("rare_label_name"):
            raise ValueError(
                f"data.rare_label_name is {self.rare_label_name!r}, but data.rare_labels is {self.rare_labels!r}, which"
                " merges nothing: set it to 'merge', or leave that field out"
            )
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
