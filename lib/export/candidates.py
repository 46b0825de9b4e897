"""Makes what a classifier could be served with, measures all of it, and writes what is chosen.

Candidates are measured with validation messages on this machine: whether they answer as torch does in float32, and how
fast. What is not chosen is not kept, because a graph has the size of the weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib.errors import LabelError, RecipeError, WeightsError
from lib.evaluation.classify.agreement import Agreement, Candidate, choose, measure_agreement, refusal
from lib.evaluation.classify.decision import Decision, Wanted, decide
from lib.evaluation.classify.speed import measure_speed
from lib.export.checking import Original
from lib.export.onnx import describe_graph, graph_engine, write_graph
from lib.export.quantize import blocks_of_8_bits, int8_but, int8_per_channel, sensitive_layers
from lib.files.jsonfile import save_json
from lib.inference.engines.engine import ONNXRUNTIME, REFERENCE, TORCH, Engine
from lib.inference.engines.saved import MODEL, TABLE, SavedEngine
from lib.inference.engines.torch_engine import TorchEngine
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, positive_class, with_temperature
from lib.progress import Progress, silent
from lib.text.windows import Texts

Tokens = Sequence[Sequence[int]]
Quantize = Callable[
    [Path, Path, Tokens, int], None
]  # the float32 graph, what to write, texts to calibrate with, padding


@dataclass(frozen=True)
class Form:
    """A way to serve a classifier; `quantize` makes its graph of that in float32 (None: it is not quantized)."""

    engine: str
    precision: str
    quantize: Quantize | None = None


def _but_sensitive(source: Path, target: Path, texts: Tokens, pad: int) -> None:
    int8_but(sensitive_layers(source, texts, pad=pad), source, target, texts)


FORMS = {
    REFERENCE: Form(TORCH, "float32"),
    f"{TORCH} bfloat16": Form(TORCH, "bfloat16"),
    f"{ONNXRUNTIME} float32": Form(ONNXRUNTIME, "float32"),
    f"{ONNXRUNTIME} int8": Form(
        ONNXRUNTIME, "int8", lambda source, target, texts, pad: int8_per_channel(source, target, texts)
    ),
    f"{ONNXRUNTIME} int8, sensitive layers in float32": Form(ONNXRUNTIME, "int8", _but_sensitive),
    f"{ONNXRUNTIME} int8, in blocks": Form(
        ONNXRUNTIME, "int8", lambda source, target, texts, pad: blocks_of_8_bits(source, target)
    ),
}


@dataclass(frozen=True)
class Sample:
    """What candidates are measured with.

    texts, targets: the tokens of validation messages or of their windows, and their labels (messages,) as indices.
    calibration: the tokens of training messages or windows, which show how far numbers inside the network reach.
    wanted: how probabilities become labels.
    """

    texts: Texts
    targets: Targets
    calibration: Tokens
    wanted: Wanted


def forms(engine: str, precision: str, *, onnx: bool) -> list[str]:
    """Returns the names of the `FORMS` that a recipe's `serving.engine` and `serving.precision` allow.

    onnx: whether ONNX Runtime comes into question where it is not named.
    """
    return [
        name
        for name, form in FORMS.items()
        if engine in ("auto", form.engine)
        and precision in ("auto", form.precision)
        and (onnx or form.engine == TORCH or engine == ONNXRUNTIME or precision == "int8")
    ]


def write_engine(
    source: Path,
    target: Path,
    names: Sequence[str],
    sample: Callable[[], Sample],
    *,
    largest_flip_share: float,
    device: str = "cpu",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes what the classifier in `source` is served with into the folder `target`: engine.json, its graph if it has
    one, and `TABLE`, which is returned: the name that is `chosen`, and a row for each candidate.

    Of several `names` the fastest is chosen whose answers agree (`lib.evaluation.classify.agreement`); with only one
    nothing is measured, and `sample` is not called. Raises WeightsError if the only engine cannot compute the
    classifier, RecipeError if no candidate agrees.
    """
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(dir=target, prefix=".candidates-") as scratch:  # on the same disk, to be moved
        workshop = _Workshop(Original.load(source), Path(scratch), device)
        if len(names) == 1:
            chosen = workshop.make(names[0], ())
        else:
            chosen, rows = _measured(workshop, names, sample(), largest_flip_share, progress)
        chosen.save(target)
    table = {"chosen": chosen.name, "candidates": rows}
    save_json(table, target / TABLE)
    return table


@dataclass(frozen=True)
class _Made:
    """A candidate at work, what engine.json says of it, and the folder of its graph, if it has one."""

    name: str
    engine: Engine
    saved: SavedEngine
    folder: Path

    def save(self, target: Path) -> None:
        """Moves its files into a folder."""
        for name in self.saved.graph.sha256 if self.saved.graph is not None else ():
            (self.folder / name).rename(target / name)
        self.saved.save(target)


@dataclass
class _Workshop:
    """Where candidates are made: each has a folder there, and those in int8 are made of the one in float32."""

    original: Original
    folder: Path
    device: str
    exact: Path | None = None  # the folder of the float32 graph
    unwritable: str = ""  # why there is none

    def make(self, name: str, texts: Tokens) -> _Made:
        """Makes a candidate; texts: to calibrate with. Raises WeightsError if it cannot be made."""
        form, original = FORMS[name], self.original
        if form.engine == TORCH:
            usage = replace(original.engine.usage, precision=form.precision)
            engine = TorchEngine(original.classifier, usage, self.device)
            return _Made(name, engine, SavedEngine(TORCH, form.precision), self.folder)
        exact = folder = self._exact()
        if form.quantize is not None:
            folder = self.folder / name
            folder.mkdir()
            form.quantize(exact / MODEL, folder / MODEL, texts, original.classifier.backbone.pad)
        graph = describe_graph(folder / MODEL, original.classifier.backbone)
        saved = SavedEngine(ONNXRUNTIME, form.precision, graph)
        return _Made(name, graph_engine(original, folder, saved), saved, folder)

    def _exact(self) -> Path:
        """Returns the folder of the float32 graph, which is written, and compared with torch, once."""
        if self.unwritable:
            raise WeightsError(self.unwritable)
        if self.exact is None:
            folder = self.folder / "float32"
            folder.mkdir()
            try:
                write_graph(self.original, folder)
            except WeightsError as error:
                self.unwritable = f"{error}"
                raise
            self.exact = folder
        return self.exact


def _measured(
    workshop: _Workshop, names: Sequence[str], sample: Sample, largest_flip_share: float, progress: Progress
) -> tuple[_Made, list[dict[str, Any]]]:
    """Makes and measures candidates; returns the one that is chosen, and a row for each."""
    made: dict[str, _Made] = {}
    agreements: dict[str, Agreement] = {}
    refused: dict[str, str] = {}
    reference = workshop.make(REFERENCE, ()).engine.probabilities(sample.texts)
    labels = workshop.original.classifier.labels
    decision = _decision(sample, labels, reference)
    for done, name in enumerate(names):
        progress(done, len(names), "candidates")
        try:
            made[name] = workshop.make(name, sample.calibration)
        except WeightsError as error:
            refused[name] = f"{error}"
            continue
        agreements[name] = measure_agreement(
            sample.targets,
            with_temperature(
                reference if name == REFERENCE else made[name].engine.probabilities(sample.texts), decision.temperature
            ),
            with_temperature(reference, decision.temperature),
            labels=labels,
            positive=positive_class(labels, sample.wanted.positive_label),
            threshold=decision.threshold,
        )
    if not made:
        raise WeightsError(next(iter(refused.values())))
    speeds = measure_speed({name: each.engine.probabilities for name, each in made.items()}, sample.texts)
    progress(len(names), len(names), "candidates")
    reasons = {name: refusal(agreement, largest_flip_share) for name, agreement in agreements.items()}
    refused |= {name: reason for name, reason in reasons.items() if reason is not None}
    if not made.keys() - refused.keys():
        why = "; ".join(f"{name} {reason}" for name, reason in refused.items())
        raise RecipeError(
            f"nothing that serving.engine and serving.precision allow answers as float32 does ({why}): set"
            " serving.precision to 'auto', or serving.largest_flip_share to a larger share"
        )
    choice = choose([Candidate(name, agreements[name], speeds[name]) for name in made], largest_flip_share)
    rows: list[dict[str, Any]] = []
    for name in names:
        measured = {**asdict(agreements[name]), **asdict(speeds[name])} if name in made else {}
        rows.append({"name": name, **measured, "refused": refused.get(name)})
    return made[choice.name], rows


def _decision(sample: Sample, labels: tuple[str, ...], reference: Probabilities) -> Decision:
    """Returns how the reference's probabilities would become labels by the messages of the sample. Where they are too
    few to choose a threshold, the evaluation, which sees all of them, finds one or says why there is none."""
    try:
        return decide(sample.wanted, labels, sample.targets, reference)
    except LabelError:
        return decide(replace(sample.wanted, threshold=MOST_PROBABLE), labels, sample.targets, reference)
