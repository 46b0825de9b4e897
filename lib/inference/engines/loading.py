"""Loads the engine that a saved classifier is served with; only what that engine needs is imported."""

from pathlib import Path

from lib.inference.engines.engine import Engine


def load_engine(folder: Path, *, device: str = "auto") -> Engine:
    """Loads a classifier's folder."""
    from lib.inference.engines.torch_engine import TorchEngine

    return TorchEngine.load(folder, device=device)
