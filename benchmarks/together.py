"""Row "together": two processes that train together against one with twice their batch, all weights, on the CPU.

What is compared is the training itself with one evaluation at its end; starting two processes takes some seconds more,
which the details have. A processor is shared: one process has all of its cores, two have half of them each.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Measured, Row, ratio_row, require_same, seconds
from benchmarks.workload import LABELS, SEED, WEIGHTS_SEED, Bench
from lib.model.classifier import new_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.progress import NOBODY, Listener
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.distributed.job import Job
from lib.training.distributed.launch import train_together
from lib.training.distributed.messages import Told
from lib.training.settings import Settings
from lib.training.team import ALONE, Team

GROUP = "together"
BATCH = 16  # messages of all processes
STEPS = 12
EVALUATED = 16  # validation messages


def rows(bench: Bench) -> Iterator[Row]:
    """Measure; both sides train on the same batches and must come to the same losses."""
    if bench.device != "cpu":
        bench.say("together: skipped, because two processes need two cards")
        return
    train, validation = bench.workload.splits["train"], bench.workload.splits["validation"].first(EVALUATED)
    train = train.first(BATCH * STEPS)
    arguments = {
        "config": vars(bench.config),
        "splits": {"train": [train.tokens, train.targets], "validation": [validation.tokens, validation.targets]},
        "width": bench.workload.width,
        "result": str(bench.folder / "together.json"),
    }
    bench.say("together: one process")
    alone = _trained(arguments, lambda: part(arguments, ALONE, NOBODY))
    bench.say("together: two processes")
    job = Job(f"{part.__module__}:{part.__name__}", arguments, 2, "cpu")
    both = _trained(arguments, lambda: train_together(job, Told(NOBODY, lambda level, text: None)))
    steps = -(-len(train.tokens) // BATCH)
    how = f"{steps} batches of {BATCH}, all weights of {bench.config.n_layers} blocks of width {bench.config.emb_dim}"
    yield ratio_row(
        GROUP,
        "training by two processes of one machine against one",
        Measured("two processes", both["seconds"], "s", how),
        Measured("one process", alone["seconds"], "s", how),
        same=require_same("losses", torch.tensor(both["losses"]), torch.tensor(alone["losses"])),
        details={"seconds_with_their_start": both["whole"], "of_one": alone["whole"]},
    )


def _trained(arguments: dict[str, Any], work: Any) -> dict[str, Any]:
    """What a training left, with the seconds of all of it."""
    whole = seconds(work)
    found: dict[str, Any] = json.loads(Path(arguments["result"]).read_bytes())
    return {**found, "whole": whole}


def part(arguments: dict[str, Any], team: Team, listener: Listener) -> None:
    """One process's part; the first leaves seconds and losses."""
    network = PooledGPT(new_gpt(GPTConfig(**arguments["config"]), seed=WEIGHTS_SEED), pooling="last_token")
    classifier = new_classifier(network, LABELS, trainable="all", seed=SEED)
    settings = Settings(
        epochs=1,
        batch_size=BATCH // team.size,
        processes=team.size,
        evaluate_every=1_000_000,  # after the first batch, and after the epoch
        evaluate_batches=1,
        seed=SEED,
        device="cpu",
    )
    trained = finetune(
        classifier,
        {name: EncodedMessages(*split) for name, split in arguments["splits"].items()},
        settings=settings,
        padding="batch",
        max_length=arguments["width"],
        scratch=Path(arguments["result"]).with_suffix(".scratch"),
        listener=listener,
        team=team,
    )
    if team.rank == 0:
        history = trained.history
        left = {
            "seconds": float(history["seconds"].iloc[-1]),
            "losses": history[["train_loss", "validation_loss"]].to_numpy().flatten().tolist(),
        }
        Path(arguments["result"]).write_text(json.dumps(left), encoding="utf-8")
