"""A saved classifier computed by ONNX Runtime, on the CPU; without torch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lib.errors import WeightsError
from lib.extras import require
from lib.inference.engines.engine import ONNXRUNTIME
from lib.inference.engines.saved import ENGINE, LOGITS, MASK, TOKENS, Graph
from lib.model.labels import Probabilities, softmax
from lib.model.machine.processor import processors, sensible_processors
from lib.model.usage import load_labels, load_usage
from lib.progress import Progress, silent
from lib.text.batching import batches_by_tokens, pad_tokens
from lib.text.windows import Texts, Windows, lengths_of, rows_of

if TYPE_CHECKING:
    import onnxruntime

# Tokens in a batch, measured on two cores with GPT-2 124M and MiniLM: larger ones exceed the caches, which costs a
# quarter with 2,048.
BATCH_TOKENS = 512
ERRORS = 3  # ONNX Runtime's level of what it logs: not what it did to the graph


@dataclass(frozen=True)
class OnnxEngine:
    """An `Engine`; rows are cut to `max_length` tokens. It may be asked by several threads at once.

    workers: batches that are computed at once, each with the session's own threads.
    """

    session: "onnxruntime.InferenceSession"
    labels: tuple[str, ...]
    precision: str
    max_length: int
    pad: int
    workers: int = 1
    name: str = ONNXRUNTIME
    on_card: bool = False

    @classmethod
    def load(
        cls, folder: Path, precision: str, graph: Graph, *, files: Path | None = None, threads: int | None = None
    ) -> "OnnxEngine":
        """Loads a classifier's folder, in which the graph's files lie if not in the folder `files`; `threads` as in
        `opened`.

        Raises WeightsError if a file is missing, is not the one that `graph` names, or cannot be computed, ExtraError
        without onnxruntime.
        """
        require("onnxruntime", "onnx", f"the classifier in {folder}, which is served with ONNX Runtime,")
        files = files or folder
        graph.require_files(files)
        max_length = load_usage(folder).max_length
        return cls.opened(files, precision, graph, labels=load_labels(folder), max_length=max_length, threads=threads)

    @classmethod
    def opened(
        cls,
        files: Path,
        precision: str,
        graph: Graph,
        *,
        labels: tuple[str, ...],
        max_length: int,
        threads: int | None = None,
    ) -> "OnnxEngine":
        """Opens a graph in the folder `files`, as it is; `threads` None: as many as suit its width. Raises WeightsError
        if it cannot be computed."""
        threads = threads or sensible_processors(graph.width)
        return cls(
            session=open_session(files / graph.file, threads=threads),
            labels=labels,
            precision=precision,
            max_length=max_length,
            pad=graph.pad,
            workers=max(1, processors() // threads),
        )

    def probabilities(self, texts: Texts, *, progress: Progress = silent) -> Probabilities:
        """As `Engine.probabilities`."""
        sequences = rows_of(texts)
        lengths = np.minimum(lengths_of(sequences), self.max_length)
        logits = np.empty((len(sequences), len(self.labels)))
        batches = batches_by_tokens(lengths, BATCH_TOKENS)

        def compute(batch: NDArray[np.int64]) -> int:
            logits[batch] = self._logits([sequences[row][: self.max_length] for row in batch.tolist()])
            return len(batch)

        for done in accumulate(self._each(compute, batches)):
            progress(done * len(texts) // len(sequences), len(texts), "messages")
        return softmax(texts.pooled(logits) if isinstance(texts, Windows) else logits)

    def begin(self, texts: Texts) -> Callable[[], Probabilities]:
        """As `Engine.begin`; nothing is left to wait for."""
        probabilities = self.probabilities(texts)
        return lambda: probabilities

    def _each(self, compute: Callable[[NDArray[np.int64]], int], batches: Sequence[NDArray[np.int64]]) -> Iterator[int]:
        """Computes batches, several at once where there are several; each writes rows of its own."""
        if self.workers == 1 or len(batches) <= 1:
            yield from map(compute, batches)
            return
        with ThreadPoolExecutor(min(self.workers, len(batches))) as pool:
            yield from pool.map(compute, batches)

    def _logits(self, sequences: Sequence[Sequence[int]]) -> Probabilities:
        (logits,) = self.session.run([LOGITS], graph_inputs(sequences, pad=self.pad))
        return np.asarray(logits, dtype=np.float64)


def graph_inputs(sequences: Sequence[Sequence[int]], *, pad: int) -> dict[str, NDArray[np.int64]]:
    """Returns what a classifier's graph is given for the tokens of texts: its `TOKENS` and its `MASK`."""
    tokens, lengths = pad_tokens(sequences, pad=pad)
    return {TOKENS: tokens, MASK: (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.int64)}


def open_session(file: Path, *, threads: int | None = None) -> "onnxruntime.InferenceSession":
    """Opens an ONNX file; weights beside it are mapped into memory, not read. Raises WeightsError if ONNX Runtime
    cannot compute it."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or processors()  # its own choice are all that the machine has
    options.log_severity_level = ERRORS
    # Threads wait for one another by spinning, which is fast, but not on after the last one is done.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base class of their own
        raise WeightsError(
            f"{file} cannot be computed by onnxruntime {onnxruntime.__version__} ({' '.join(str(error).split())}):"
            f" install the version that {ENGINE} names, or register the model again"
        ) from error
