"""Describes questions and answers for OpenAPI: what `/openapi.json` and `/docs` say of them.

Answers are written without being checked against these models, because that takes longer than a tiny classifier; a test
checks them instead.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Identity(BaseModel):
    """The version of a registered model that answered."""

    name: str
    version: str
    calibrated: bool = Field(
        description="whether probabilities say how often the classifier is right: its logits are divided by a"
        " temperature that was fitted on validation messages"
    )


class Row(BaseModel):
    """The answer for one text; besides, `probability_<label>` for each label of the model."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    label: str
    threshold: float | None = Field(
        default=None, description="of two labels, the probability from which the positive one is given; else absent"
    )


class Predictions(BaseModel):
    """A row for each text, in order."""

    predictions: list[Row]
    model: Identity


class Word(BaseModel):
    """A word as written, and by how much the label's log-odds fall without it."""

    word: str
    weight: float


class Explained(BaseModel):
    """The row of a text, and what its words weighed."""

    prediction: Row
    words: list[Word] = Field(description="the first hundred words; none of a text with a single word")
    not_weighed: int = Field(description="how many words follow those")
    saturated: bool = Field(description="whether the label is so sure that single words hardly matter")
    model: Identity


class LimitsOfARequest(BaseModel):
    """What one request may bring."""

    body_bytes: int
    texts: int


class EngineOfAModel(BaseModel):
    """What computes."""

    name: str = Field(examples=["torch", "onnxruntime"])
    precision: str = Field(examples=["float32", "int8"])


class Model(Identity):
    """The champion that is served."""

    positive_label: str | None = Field(
        default=None, description="of two labels, the one that is given from the threshold on; else absent"
    )
    threshold: float | None = Field(default=None, description="of two labels; else absent")
    engine: EngineOfAModel
    limits: LimitsOfARequest


class Problem(BaseModel):
    """What is wrong, in MLflow's form and one sentence."""

    error_code: str = Field(examples=["BAD_REQUEST"])
    message: str = Field(examples=["text 2 is empty: leave it out, there is nothing to classify"])


# Status -> when; of the paths that take a body.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the body is not what is asked for; the sentence says what is wrong"},
    413: {"model": Problem, "description": "more bytes, texts or characters than the limits allow"},
    415: {"model": Problem, "description": "the body's `Content-Type` is not `application/json`"},
}

_TEXT = {"type": "string", "minLength": 1}
_RECORDS = {"type": "array", "items": {"type": "object", "required": ["text"], "properties": {"text": _TEXT}}}
_LIST = {
    "oneOf": [
        {"type": "array", "items": _TEXT},
        _RECORDS,
        {"type": "object", "required": ["text"], "properties": {"text": {"type": "array", "items": _TEXT}}},
    ]
}
_SPLIT = {
    "type": "object",
    "required": ["columns", "data"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}, "contains": {"const": "text"}},
        "data": {"type": "array", "items": {"type": "array"}},
    },
}


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}}


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: schema}}


TEXTS = _body(
    {
        "oneOf": [
            _object("inputs", _LIST),
            _object("instances", _LIST),
            _object("dataframe_split", _SPLIT),
            _object("dataframe_records", _RECORDS),
        ]
    },
    {
        "inputs": {"inputs": ["first text", "second text"]},
        "instances": {"instances": [{"text": "first text"}, {"text": "second text"}]},
        "dataframe_split": {"dataframe_split": {"columns": ["id", "text"], "data": [[1, "first text"]]}},
        "dataframe_records": {"dataframe_records": [{"id": 1, "text": "first text"}]},
    },
)
ONE_TEXT = _body(_object("text", _TEXT), {"text": {"text": "some text"}})
