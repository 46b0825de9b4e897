"""ONNX Runtime called directly, as a user would without this project: the other side of several rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lib.inference.engines.saved import LOGITS, MASK, MODEL, TOKENS, saved_engine
from lib.model.machine.processor import sensible_processors
from lib.model.usage import load_labels, load_usage
from lib.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Direct:
    """A session with a classifier's graph, with as many threads as ours: more make a narrow network slower."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    max_length: int
    pad: int

    @classmethod
    def load(cls, folder: Path, file: Path | None = None) -> "Direct":
        """Opens the graph of a saved classifier, or another `file` made of it."""
        graph = saved_engine(folder).graph
        assert graph is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = sensible_processors(graph.width)
        session = onnxruntime.InferenceSession(file or folder / MODEL, options)
        return cls(session, load_tokenizer(folder), load_labels(folder), load_usage(folder).max_length, graph.pad)

    def classify(self, texts: Sequence[str], batch: int) -> NDArray[np.float64]:
        """The probabilities (texts, labels), in batches of so many texts of similar length."""
        sequences = [self.tokenizer.cut(tokens, self.max_length) for tokens in self.tokenizer.encode(list(texts))]
        order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
        shares = np.empty((len(sequences), len(self.labels)))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            shares[rows] = self.run([sequences[row] for row in rows])
        return shares

    def run(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """The probabilities of one batch of tokens."""
        tokens = np.full((len(sequences), max(map(len, sequences))), self.pad)
        mask = np.zeros_like(tokens)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
        (logits,) = self.session.run([LOGITS], {TOKENS: tokens, MASK: mask})
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
        return shares
