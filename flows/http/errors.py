"""Answers in JSON, and errors in the form of MLflow's, without their stack trace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from lib.visible import visible

JSON = "application/json"


def json_response(
    content: dict[str, Any], status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer, escaped to ASCII: a sentence may quote half a character, which no encoding can write."""
    return Response(json.dumps(content), status, headers, media_type=JSON)


def error_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """One sentence about what is wrong."""
    return json_response({"error_code": HTTPStatus(status).name, "message": visible(sentence)}, status, headers)
