"""Row "finetuning": the published procedure's training on SMS data, ours against a padded loop and the Trainer.

All sides train the last block, the last norm and the head of one network for five epochs, with its evaluations: losses
of five batches of each of two splits every fifty steps and after each epoch, and at the end the accuracy on every
message of every split. Ours "cold" includes the features step, "warm" finds the features in the store.
"""

import statistics
from collections.abc import Iterator
from importlib.util import find_spec

import torch

from benchmarks.harness import Measured, Row, Target, ratio_row, require_same
from benchmarks.ours import FeaturesRun, TrainingRun, features_run, new_model, scores_around_training, training_run
from benchmarks.padded import PaddedLoop, PaddedTimes, time_padded_loop
from benchmarks.workload import Bench

GROUP = "finetuning"
GPU_SECONDS = {"cold": 4.0, "warm": 2.0}  # to stay under on a GPU of the H200 class, in bfloat16


def rows(bench: Bench) -> Iterator[Row]:
    """Measure; the padded loop half before ours and half after it, so that a change of the machine shows."""
    bench.say("fine-tuning: do all sides compute the same?")
    same = padded_computes_the_same(bench)
    bench.say("fine-tuning: the padded loop, first half")
    padded = {precision: PaddedTimes([], []) for precision in ("float32", "bfloat16")}
    time_padded_loop(bench, new_model(bench.config), padded["float32"], precision="float32", share=0.5)
    features: dict[str, FeaturesRun] = {}
    trainings: dict[str, TrainingRun] = {}
    for precision in padded:
        bench.say(f"fine-tuning: ours, {precision}")
        features[precision] = features_run(bench, precision)
        trainings[precision] = training_run(bench, features[precision].splits, precision=precision)
    bench.say("fine-tuning: the padded loop, second half")
    time_padded_loop(bench, new_model(bench.config), padded["float32"], precision="float32", share=0.5)
    time_padded_loop(bench, new_model(bench.config), padded["bfloat16"], precision="bfloat16", share=1.0)

    ours = {
        (kind, precision): ours_measured(bench, kind, precision, features[precision], trainings[precision])
        for precision in padded
        for kind in ("cold", "warm")
    }
    details = {
        precision: {
            "features_seconds": features[precision].seconds,
            "training_seconds": trainings[precision].training,
            "final_seconds": trainings[precision].final,
            "accuracies": trainings[precision].accuracies,
        }
        for precision in padded
    }
    yield from against_padded_loop(bench, ours, padded, same=same, details=details)
    if find_spec("transformers") is None:
        bench.say("fine-tuning against the Trainer is skipped: transformers is not installed")
        return
    yield from against_trainer(bench, ours)


def against_padded_loop(
    bench: Bench,
    ours: dict[tuple[str, str], Measured],
    padded: dict[str, PaddedTimes],
    *,
    same: str,
    details: dict[str, dict[str, object]],
) -> Iterator[Row]:
    """Ours against the padded loop in float32, as it is published; in bfloat16 also against the same in bfloat16."""
    loop = {precision: padded_measured(bench, times, precision) for precision, times in padded.items()}
    for kind, precision, against, at_least in (
        ("cold", "float32", "float32", 18.0),
        ("warm", "float32", "float32", 60.0),
        ("cold", "bfloat16", "float32", 28.0),
        ("cold", "bfloat16", "bfloat16", None),
        ("warm", "bfloat16", "bfloat16", None),
    ):
        what = f"fine-tuning {kind} in {precision}, against the padded loop"
        row = ratio_row(
            GROUP,
            what + (" in bfloat16" if against == "bfloat16" else ""),
            ours[kind, precision],
            loop[against],
            at_least=at_least if bench.judged else None,
            same=same,
            details={
                **details[precision],
                "padded_step_seconds": padded[against].steps,
                "padded_batch_seconds": padded[against].batches,
            },
        )
        yield _on_gpu(row, bench, kind, precision)


def against_trainer(bench: Bench, ours: dict[tuple[str, str], Measured]) -> Iterator[Row]:
    """Ours against `transformers`' Trainer: messages in random order, and grouped by length, which is its best."""
    from benchmarks.hugging_face import grouped_order, random_order, trainer_seconds

    same = trainer_computes_the_same(bench)
    precision = "float32" if bench.device == "cpu" else "bfloat16"
    amounts = bench.amounts
    how = (
        f"one batch in {amounts.trainer_share} of an epoch, and an evaluation of {amounts.trainer_evaluated} messages,"
        " measured and scaled by messages"
    )
    for order, name, at_least in ((random_order, "", 6.0), (grouped_order, ", grouped by length", None)):
        bench.say(f"fine-tuning: the Trainer, dynamic padding{name}")
        elapsed = trainer_seconds(bench, new_model(bench.config), order=order, precision=precision)
        other = Measured(f"transformers' Trainer, dynamic padding{name}, {precision}", elapsed, "s", how)
        for kind in ("cold", "warm"):
            yield ratio_row(
                GROUP,
                f"fine-tuning {kind} in {precision}, against the Trainer{name}",
                ours[kind, precision],
                other,
                at_least=at_least if bench.judged and kind == "cold" else None,
                same=same,
            )


def ours_measured(bench: Bench, kind: str, precision: str, features: FeaturesRun, training: TrainingRun) -> Measured:
    """Our side; "cold" with the features step."""
    elapsed = training.seconds + (features.seconds if kind == "cold" else 0.0)
    what = "features, training on them and evaluations" if kind == "cold" else "training on features and evaluations"
    return Measured(f"{what}, {precision}", elapsed, "s", f"all {bench.amounts.epochs} epochs measured")


def padded_measured(bench: Bench, times: PaddedTimes, precision: str) -> Measured:
    """The padded loop's side, extrapolated."""
    train = len(bench.workload.splits["train"].tokens)
    how = (
        f"{len(times.steps)} of {bench.amounts.steps(train)} steps and {len(times.batches)} batches of evaluations"
        f" measured (medians {statistics.median(times.steps):.3g} s and {statistics.median(times.batches):.3g} s),"
        " the rest extrapolated"
    )
    what = f"everything padded to {bench.workload.width}, all blocks recomputed, {precision}"
    return Measured(what, times.whole(bench), "s", how)


def padded_computes_the_same(bench: Bench) -> str:
    """The scores of one batch before and after training on it, from the padded loop and from ours."""
    one = bench.workload.splits["train"].first(bench.amounts.batch_size)
    before, after = scores_around_training(bench, one, epochs=2)
    loop = PaddedLoop(
        new_model(bench.config), bench.amounts, width=bench.workload.width, device=bench.device, precision="float32"
    )
    sentence = require_same("log-probabilities in float32 before training", before, loop.logits(one).log_softmax(dim=1))
    torch.manual_seed(0)
    for _ in range(2):
        for batch in loop.loader(one, shuffle=True):
            loop.step(batch)
    return f"{sentence}; " + require_same("after two steps they", after, loop.logits(one).log_softmax(dim=1))


def trainer_computes_the_same(bench: Bench) -> str:
    """As `padded_computes_the_same`, for the Trainer."""
    from benchmarks.hugging_face import collate, examples, sequence_classifier, trainer

    one = bench.workload.splits["train"].first(bench.amounts.batch_size)
    before, after = scores_around_training(bench, one, epochs=2)
    model = sequence_classifier(new_model(bench.config)).to(bench.device)
    tokens = collate(examples(one))["input_ids"].to(bench.device)

    @torch.no_grad()
    def scores() -> torch.Tensor:
        logits: torch.Tensor = model.eval()(tokens).logits
        return logits.log_softmax(dim=1)

    sentence = require_same("log-probabilities in float32 before training", before, scores())
    with trainer(
        model, examples(one), bench.amounts, bench.folder, device=bench.device, precision="float32", epochs=2
    ) as learning:
        learning.train()
    return f"{sentence}; " + require_same("after two steps they", after, scores())


def _on_gpu(row: Row, bench: Bench, kind: str, precision: str) -> Row:
    """The row with the target for absolute seconds, where it is one for a GPU."""
    if bench.device == "cpu" or precision != "bfloat16":
        return row
    limit = GPU_SECONDS[kind]
    return Row(**{**vars(row), "target": Target(f"under {limit:g} s", row.ours.amount < limit)})
