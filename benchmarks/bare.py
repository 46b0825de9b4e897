"""The plainest scoring server: `python -m benchmarks.bare FOLDER PORT`, ONNX Runtime called in a handler of FastAPI.

The other side of `serving.py`. It classifies in the event loop, because in FastAPI's threads it is several times
slower.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.direct import Direct


class Question(BaseModel):
    """Texts in one of MLflow's forms."""

    inputs: list[str]


def application(direct: Direct) -> FastAPI:
    """A path to ask a classifier, and one to know that it is up."""
    app = FastAPI()
    keys = [f"probability_{label}" for label in direct.labels]

    @app.post("/invocations")
    async def invocations(question: Question) -> dict[str, Any]:
        shares = direct.classify(question.inputs, batch=len(question.inputs))
        return {
            "predictions": [
                {"label": direct.labels[int(row.argmax())], **dict(zip(keys, row.tolist(), strict=True))}
                for row in shares
            ]
        }

    @app.get("/ping")
    async def ping() -> None:
        return None

    return app


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    uvicorn.run(application(Direct.load(Path(folder))), port=int(port), log_level="warning")
