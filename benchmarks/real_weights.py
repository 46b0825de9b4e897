"""Where really pretrained weights lie on this machine, if they do: for rows, and for tests."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PLACES = [
    *([Path(os.environ["FINETUNE_REAL_MODELS"])] if os.environ.get("FINETUNE_REAL_MODELS") else []),
    PROJECT / ".models",  # filled by `make models`
    PROJECT.parent / "shared" / "models" / "weights",
]
MINILM = "all-minilm-l6-v2"


def real_weights(name: str) -> Path | None:
    """The folder of the weights of this name, if it is on this machine."""
    return next((place / name for place in PLACES if (place / name).is_dir()), None)
