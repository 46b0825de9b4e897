"""The fields of a batch scoring job and their conflicts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lib.recipes.cluster import Cluster
from lib.recipes.sections import (
    Column,
    Place,
    Quoting,
    RegisteredName,
    Section,
    Separator,
    Sheet,
    Text,
    TextColumn,
    TextEncoding,
)

PARTS = 50_000  # messages: about a minute with the smallest model, and a file of a megabyte
MOST_IN_A_PART = 1_000_000


class Drift(Section):
    """When the scored messages count as drifted from those that the classifier was measured on. A measure has to exceed
    its threshold, and also what chance alone would give."""

    minimum: int = Field(default=200, ge=1, description="messages below which drift is measured, but never declared")
    significance: float = Field(
        default=0.001, gt=0, lt=0.5, description="how often a measure may call messages drifted by chance alone"
    )
    psi: float = Field(
        default=0.25, ge=0, description="population stability index of scores, labels or lengths that counts as drift"
    )
    ks: float = Field(
        default=0.2, ge=0, le=1, description="Kolmogorov-Smirnov distance of scores or lengths that counts as drift"
    )
    unknown: float = Field(
        default=0.1, ge=0, le=1, description="rise of the share of tokens never seen in training that counts as drift"
    )


class ScoringJob(Section):
    """Files to score, the classifier that does it, and where the answers go."""

    inputs: Annotated[tuple[Place, ...], Field(min_length=1)] = Field(
        description="Parquet, CSV, TSV or JSON Lines, plain or compressed (gzip, bzip2, xz, zstandard): files,"
        " folders or patterns such as in/*.csv, on this machine or in an object store, s3://bucket/in/*.csv"
    )
    output: Place = Field(
        description="the folder for the answers, or s3://bucket/prefix; it is created, and answers for other files in"
        " it stay"
    )
    name: RegisteredName | None = Field(
        default=None, description="the registered model whose champion answers (null: the one registered last)"
    )
    run: Text | None = Field(default=None, description="the MLflow run whose classifier answers instead of a champion")
    format: Literal["tsv", "csv", "jsonl", "parquet"] | None = Field(
        default=None,
        description="how the files are written (null: by their contents, or else by the ending of each name)",
    )
    text_column: TextColumn = "text"
    id_column: Column | None = Field(
        default=None, description="a column of your own to tell the rows by, name or position (null: file and row)"
    )
    quoting: Quoting = None
    encoding: TextEncoding = None
    separator: Separator = None
    sheet: Sheet = None
    part_rows: int = Field(
        default=PARTS, ge=1, le=MOST_IN_A_PART, description="rows of a part: what a killed run has to do again at most"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where to compute (auto: a GPU if any)")
    drift: Drift = Drift()
    cluster: Cluster = Cluster()

    @model_validator(mode="after")
    def _columns_agree(self) -> ScoringJob:
        if self.id_column is not None and isinstance(self.text_column, int) != isinstance(self.id_column, int):
            raise ValueError(
                "text_column and id_column must both be names (files with a header row) or both positions (files"
                " without one)"
            )
        return self

    @model_validator(mode="after")
    def _one_classifier(self) -> ScoringJob:
        if self.name is not None and self.run is not None:
            raise ValueError("name and run both say which classifier answers: give one of them")
        return self
