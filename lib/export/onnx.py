"""Writes a saved classifier as ONNX: tokens in, logits out, with pooling and head inside."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.export.checking import Original, require_same, save_tokenizer
from lib.extras import require
from lib.files.appear import appearing
from lib.files.jsonfile import save_json
from lib.model.classifier import Classifier
from lib.model.labels import Probabilities
from lib.model.padding import pad_batch
from lib.model.weights.folder import CONFIG, read_fields

MODEL = "model.onnx"
TOKENS, MASK, LOGITS = "input_ids", "attention_mask", "logits"
LARGEST = 1_900_000_000  # bytes of weights inside the file, whose format ends at 2 GiB; more lie beside it


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
    """Writes the classifier in `source`, which `Predictor.load` reads, into a new folder: model.onnx, config.json with
    the labels, and the tokenizer with the length at which texts are cut.

    Raises `WeightsError` if the classifier cannot be written as ONNX or gives other probabilities there, `ExtraError`
    without the extra `onnx`, `RecipeError` if `target` is not empty.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "onnx", "export --format onnx")
    original = Original.load(source)
    if original.classifier.backbone.pooling == "padded_last":
        raise WeightsError(
            "the classifier has classifier.pooling 'padded_last', whose answers depend on how texts are padded: train"
            " with classifier.pooling 'last_token'"
        )
    with appearing(target) as folder:
        _write(original, folder / MODEL)
        save_json(read_fields(source / CONFIG), folder / CONFIG)
        save_tokenizer(original, folder)
        require_same(original, "ONNX", _reader(folder / MODEL, original))


def _write(original: Original, file: Path) -> None:
    classifier = original.classifier
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=classifier.backbone.context_length)
    size = sum(parameter.nbytes for parameter in classifier.parameters())
    example, lengths = pad_batch(_example(original), pad=classifier.backbone.pad)
    with _quiet(), torch.no_grad():
        try:
            torch.onnx.export(
                _Traced(classifier).eval(),
                (example, _mask(example, lengths)),
                file,
                dynamo=True,
                input_names=[TOKENS, MASK],
                output_names=[LOGITS],
                dynamic_shapes={name: {0: batch, 1: length} for name in (TOKENS, MASK)},
                external_data=size > LARGEST,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            family = classifier.backbone.family
            raise WeightsError(
                f"a classifier on {family} cannot be written as ONNX ({_reason(error)}): export with --format hf"
            ) from error


def _example(original: Original) -> list[list[int]]:
    """Returns two texts to trace with, of different lengths; axes of length 1 would be taken for constants."""
    (tokens,) = original.encoded(["Free entry: text WIN to 80082 before Friday."])
    return [tokens, tokens[: max(1, len(tokens) - 1)]]


def _mask(tokens: Tensor, lengths: Tensor) -> Tensor:
    return (torch.arange(tokens.shape[1]) < lengths[:, None]).long()


def _reader(file: Path, original: Original) -> Callable[[list[str]], Probabilities]:
    """Returns how ONNX Runtime reads a batch of texts."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def ask(texts: list[str]) -> Probabilities:
        tokens, lengths = pad_batch(original.encoded(texts), pad=original.classifier.backbone.pad)
        (logits,) = session.run([LOGITS], {TOKENS: tokens.numpy(), MASK: _mask(tokens, lengths).numpy()})
        probabilities: Probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        return probabilities

    return ask


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
