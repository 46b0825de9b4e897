"""A saved model that follows instructions: which code loads it."""

from collections.abc import Callable
from pathlib import Path

from lib.model.gpt2.writing import WritingGPT, load_writing_gpt
from lib.model.hugging_face.writing import WritingTransformer, load_writing_transformer
from lib.model.language_model import LanguageModel
from lib.model.weights.saved import INFERENCE, SavedFields

# From a saved model's folder to its network, by which code computes that.
LOADERS: dict[str, Callable[[Path], LanguageModel]] = {
    WritingGPT.network: load_writing_gpt,
    WritingTransformer.network: load_writing_transformer,
}


def load_follower(folder: Path) -> LanguageModel:
    """Reads what `LanguageModel.save` wrote beside inference.json: float32, on the CPU. Raises `WeightsError` if a file
    is missing or damaged, or does not fit the others."""
    saved = SavedFields(folder / INFERENCE)
    network = saved.get("network", str)
    if network not in LOADERS:
        raise saved.wrong("network", network)
    return LOADERS[network](folder)
