"""A GPT as a language model: what writes text in our own code."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lib.errors import WeightsError
from lib.model.adapters import add_adapters
from lib.model.gpt2.freezing import freeze_gpt
from lib.model.gpt2.generation import generate
from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.sizes import GPTConfig, require_vocabulary
from lib.model.gpt2.weights import load_gpt, save_gpt
from lib.model.language_model import Continuation, Writing
from lib.model.trainable import Trainable
from lib.progress import Progress, silent


class WritingGPT(nn.Module):
    """A `LanguageModel`; raises `WeightsError` for a GPT that has fewer tokens than its encoding."""

    network = "gpt2"
    longest_prompt = None  # the window slides
    stops = ()  # the encoding has the only one

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        require_vocabulary(gpt.config)
        self.gpt = gpt

    @property
    def config(self) -> GPTConfig:
        return self.gpt.config

    @property
    def width(self) -> int:
        return self.gpt.config.emb_dim

    @property
    def gradient_checkpointing(self) -> bool:
        return self.gpt.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, used: bool) -> None:
        self.gpt.gradient_checkpointing = used

    def hidden(self, tokens: Tensor) -> Tensor:
        return self.gpt.hidden(tokens)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.gpt.logits(hidden)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        writing: Writing,
        *,
        stops: Sequence[int],
        precision: str = "float32",
        progress: Progress = silent,
    ) -> list[Continuation]:
        """Writes on after each prompt; see `lib.model.gpt2.generation.generate`."""
        written = generate(self.gpt, prompts, **asdict(writing), stops=stops, precision=precision, progress=progress)
        return [Continuation(tokens, stopped=len(tokens) < writing.max_new_tokens) for tokens in written]

    def freeze(self, trainable: Trainable) -> None:
        freeze_gpt(self.gpt, trainable)

    def add_adapters(self, **settings: Any) -> None:
        add_adapters(self.gpt, self.gpt.blocks, **settings)

    def use(self) -> dict[str, object]:
        return {"network": self.network}

    def save(self, folder: Path, stops: Sequence[int]) -> None:  # noqa: ARG002 - transformers knows GPT-2's
        save_gpt(self.gpt, folder)


def load_writing_gpt(folder: Path) -> WritingGPT:
    """Reads what `WritingGPT.save` wrote; raises `WeightsError` as `load_gpt` does."""
    return WritingGPT(load_gpt(folder))


def pretrained_gpt(folder: Path, *, dropout: float, tied_output: bool) -> WritingGPT:
    """Returns the pretrained GPT in `folder`; without `tied_output`, with an output matrix of its own. Raises
    `WeightsError` as `load_gpt` does, and if the weights have such a matrix and `tied_output` is true."""
    gpt = load_gpt(folder, dropout=dropout)
    if tied_output and gpt.output is not None:
        raise WeightsError(
            "the weights have an output matrix of their own, and model.tied_output is true: set it to false, or use"
            " weights whose token embedding is the output matrix"
        )
    if not tied_output:
        gpt.untie_output()
    return WritingGPT(gpt)
