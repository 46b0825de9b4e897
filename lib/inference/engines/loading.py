"""Loads the engine that a saved classifier is served with; only what that engine needs is imported."""

from pathlib import Path

from lib.inference.engines.engine import Engine
from lib.inference.engines.saved import saved_engine


def load_engine(folder: Path, *, device: str = "auto", engine: Path | None = None) -> Engine:
    """Loads a classifier's folder with the engine that its `engine.json` names, or else with torch.

    device: torch's, "auto", "cpu" or "cuda"; ONNX Runtime computes on the CPU. engine: the folder of `engine.json` and
    of what it names (None: the classifier's). Raises WeightsError if a file is missing, damaged or does not fit the
    others, RecipeError if there is no such device, ExtraError without a package that the engine needs.
    """
    saved = saved_engine(engine or folder)
    if saved.graph is None:
        from lib.inference.engines.torch_engine import TorchEngine

        return TorchEngine.load(folder, precision=saved.precision, device=device)
    from lib.inference.engines.onnx_engine import OnnxEngine

    return OnnxEngine.load(folder, saved.precision, saved.graph, files=engine)
