"""The plainest scoring server: `python -m benchmarks.bare FOLDER PORT`, a predictor in a handler of FastAPI.

The other side of `serving.py`. The handler classifies in the event loop, because in FastAPI's threads it is several
times slower.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from lib.inference.predictor import Predictor


class Question(BaseModel):
    """Texts in one of MLflow's forms."""

    inputs: list[str]


def application(predictor: Predictor) -> FastAPI:
    """A path to ask, and one to know that it is up."""
    app = FastAPI()

    @app.post("/invocations")
    async def invocations(question: Question) -> dict[str, Any]:
        return {
            "predictions": [
                {"label": each.label, **{f"probability_{label}": share for label, share in each.probabilities.items()}}
                for each in predictor.predict(question.inputs)
            ]
        }

    @app.get("/ping")
    async def ping() -> None:
        return None

    return app


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    uvicorn.run(application(Predictor.load(Path(folder))), port=int(port), log_level="warning")
