"""Writes a saved classifier as ONNX: tokens in, logits out, with pooling and head inside."""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.export.checking import Original, require_same, save_tokenizer
from lib.extras import require_onnx
from lib.files.appear import appearing
from lib.files.checksum import file_sha256
from lib.files.jsonfile import save_json
from lib.inference.engines.engine import ONNXRUNTIME
from lib.inference.engines.onnx_engine import OnnxEngine, graph_inputs
from lib.inference.engines.saved import LOGITS, MASK, MODEL, TOKENS, Graph, SavedEngine, saved_engine
from lib.model.backbone import Backbone
from lib.model.classifier import Classifier
from lib.model.weights.folder import CONFIG, read_fields

INSIDE = 10_000_000  # bytes of weights inside the file; more lie beside it, from where they are mapped into memory


class _Traced(nn.Module):
    """The whole classifier as a function of the arguments that transformers' classifiers take."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Returns logits (batch, classes) of tokens (batch, length) int64 and a mask of the same shape and type, 1 for
        tokens and 0 for the padding behind them."""
        logits: Tensor = self.classifier.head(self.classifier.backbone.whole(input_ids, attention_mask.sum(dim=1)))
        return logits


def export_onnx(source: Path, target: Path) -> None:
    """Writes the classifier in `source`, which `Predictor.load` reads, into a new folder: model.onnx in float32 (that
    of its engine, if there is one), config.json with the labels, and the tokenizer with the length at which texts are
    cut.

    Raises as `write_graph` does, `RecipeError` if `target` is not empty.
    """
    require_onnx("export --format onnx")
    served, original = saved_engine(source), Original.load(source)
    with appearing(target) as folder:
        if served.graph is not None and served.precision == "float32":
            served.graph.require_files(source)
            copy_graph(served.graph, source, folder)
        else:
            write_graph(original, folder)
        save_json(read_fields(source / CONFIG), folder / CONFIG)
        save_tokenizer(original, folder)


def write_graph(original: Original, folder: Path) -> Graph:
    """Writes a classifier as `MODEL` into a folder, in float32, and compares its answers; returns what it is.

    Raises `WeightsError` if the classifier cannot be written as ONNX or gives other probabilities there. The packages
    of the extra `onnx` must be installed.
    """
    if original.classifier.backbone.pooling == "padded_last":
        raise WeightsError(
            "the classifier has classifier.pooling 'padded_last', whose answers depend on how texts are padded: train"
            " with classifier.pooling 'last_token'"
        )
    _write(original, folder / MODEL)
    graph = describe_graph(folder / MODEL, original.classifier.backbone)
    engine = graph_engine(original, folder, SavedEngine(ONNXRUNTIME, "float32", graph))
    require_same(original, "ONNX", lambda texts: engine.probabilities(original.encoded(texts)))
    return graph


def graph_engine(original: Original, folder: Path, saved: SavedEngine) -> OnnxEngine:
    """Returns the engine that computes a classifier's graph in a folder."""
    assert saved.graph is not None
    labels, max_length = original.classifier.labels, original.max_length
    return OnnxEngine.opened(folder, saved.precision, saved.graph, labels=labels, max_length=max_length)


def describe_graph(file: Path, backbone: Backbone) -> Graph:
    """Returns what engine.json says of an ONNX file of a classifier on this backbone."""
    import onnx
    import onnxruntime

    model = onnx.load(file, load_external_data=False)
    files = sorted(file.parent.glob(f"{file.name}*"))
    return Graph(
        file=file.name,
        sha256={each.name: file_sha256(each) for each in files},
        opset=next(each.version for each in model.opset_import if not each.domain),
        onnxruntime=onnxruntime.__version__,
        pad=backbone.pad,
        width=backbone.width,
    )


def copy_graph(graph: Graph, source: Path, target: Path) -> None:
    """Copies a graph's files from one folder to another."""
    for name in graph.sha256:
        shutil.copyfile(source / name, target / name)


def _write(original: Original, file: Path) -> None:
    classifier = original.classifier
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=classifier.backbone.context_length)
    size = sum(parameter.nbytes for parameter in classifier.parameters())
    example = graph_inputs(_example(original), pad=classifier.backbone.pad)
    with _quiet(), torch.no_grad():
        try:
            torch.onnx.export(
                _Traced(classifier).eval(),
                tuple(torch.from_numpy(example[name]) for name in (TOKENS, MASK)),
                file,
                dynamo=True,
                input_names=[TOKENS, MASK],
                output_names=[LOGITS],
                dynamic_shapes={name: {0: batch, 1: length} for name in (TOKENS, MASK)},
                external_data=size > INSIDE,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            family = classifier.backbone.family
            raise WeightsError(
                f"a classifier on {family} cannot be written as ONNX ({_reason(error)}): export with --format hf"
            ) from error
    _forget_sources(file)


def _forget_sources(file: Path) -> None:
    """Removes what torch's exporter notes of each node: lines and paths of the code of the machine that exported."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    onnx.save_model(model, file)  # weights beside it stay as they are


def _example(original: Original) -> list[list[int]]:
    """Returns two texts to trace with, of different lengths; axes of length 1 would be taken for constants."""
    (tokens,) = original.encoded(["Free entry: text WIN to 80082 before Friday."])
    return [tokens, tokens[: max(1, len(tokens) - 1)]]


def _reason(error: Exception) -> str:
    """Returns the first line of the innermost error, which says what could not be done."""
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks on its own parts out of the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
