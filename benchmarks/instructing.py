"""Row "instructing": a step of GPT-2 355M on instructions in bfloat16, against transformers' classes; and its memory.

Both sides train all parameters on the bundled entries, in the same batches of 8, with a fused AdamW on float32 weights.
Only for a GPU: of a CPU, `benchmarks.training_memory` says the memory.
"""

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Measured, Row, limit_row, ratio_row, require_same, synchronise
from benchmarks.workload import QUICK, WEIGHTS_SEED, Bench
from lib.data.entries.reading import read_entries
from lib.data.samples.entries import FILE as INSTRUCTIONS
from lib.model.gpt2.gpt import GPT, new_gpt
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.gpt2.weights import named_tensors
from lib.model.gpt2.writing import WritingGPT
from lib.progress import Listener
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.prompts import STYLES
from lib.training.batches import SortedOrder
from lib.training.examples import Examples
from lib.training.instruct.batches import IGNORED, EncodedEntries
from lib.training.instruct.finetune import finetune_instructions
from lib.training.instruct.next_token import NextToken, Predicting
from lib.training.settings import Settings

GROUP = "instructing"
BATCH = 8
WARM_UP, STEPS = 5, 40
MOST_BYTES = 8e9  # of a card's memory, with gradient checkpointing


def rows(bench: Bench) -> Iterator[Row]:
    """Measure ours with and without gradient checkpointing, then transformers' classes without it."""
    if torch.device(bench.device).type != "cuda":
        bench.say("instructions are skipped: they are measured on a GPU")
        return
    config = SIZES["gpt2-medium"] if bench.amounts != QUICK else bench.config
    entries = bundled_entries(config)
    ours: dict[bool, tuple[float, float]] = {}
    for checkpointing in (False, True):
        bench.say(f"instructions: ours, {'with' if checkpointing else 'without'} gradient checkpointing")
        ours[checkpointing] = our_step(config, entries, checkpointing=checkpointing)
    million = round(sum(each.numel() for each in GPT(config).parameters()) / 1e6)
    yield limit_row(
        GROUP,
        f"instructions: memory of the card, {million}M parameters in bfloat16",
        Measured(
            "gradient checkpointing, everything that torch reserved", ours[True][1] / 1e9, "GB", f"batches of {BATCH}"
        ),
        MOST_BYTES / 1e9,
        judged=bench.amounts != QUICK,
        details={"seconds_of_a_step": {"plain": ours[False][0], "checkpointing": ours[True][0]}},
    )
    if find_spec("transformers") is None:
        bench.say("instructions against transformers are skipped: transformers is not installed")
        return
    bench.say("instructions: transformers' classes")
    seconds, memory, same = their_step(config, entries)
    yield ratio_row(
        GROUP,
        f"instructions: a step of {million}M parameters in bfloat16, against transformers' classes",
        Measured("logits where targets count", ours[False][0], "s", f"mean of {STEPS} steps, batches of {BATCH}"),
        Measured("GPT2LMHeadModel, autocast, fused AdamW", seconds, "s", "the same batches"),
        same=same,
        details={"gb": {"ours": ours[False][1] / 1e9, "theirs": memory / 1e9}},
    )


def bundled_entries(config: GPTConfig) -> EncodedEntries:
    """The bundled entries in the published prompt style with their responses, as often as the steps need."""
    table = read_entries(INSTRUCTIONS).table
    style = STYLES["alpaca"]
    texts = [
        style.prompt(instruction, given) + style.response(output)
        for instruction, given, output in zip(table["instruction"], table["input"], table["output"], strict=True)
    ]
    tokens = gpt2_tokenizer().encode(texts)
    needed = BATCH * (WARM_UP + STEPS)
    tokens = (tokens * (needed // len(tokens) + 1))[:needed]
    return EncodedEntries(tokens, [0] * len(tokens), config.context_length, mask_instruction=False)


def our_step(config: GPTConfig, entries: EncodedEntries, *, checkpointing: bool) -> tuple[float, float]:
    """Seconds of a step, and bytes of the card that were reserved."""
    times: dict[int, float] = {}

    def progress(done: int, total: int | None, unit: str) -> None:  # noqa: ARG001
        if done in (WARM_UP, WARM_UP + STEPS):
            synchronise()
            times[done] = time.perf_counter()

    _begin()
    few = EncodedEntries(entries.tokens[:BATCH], entries.starts[:BATCH], entries.max_length, mask_instruction=False)
    settings = Settings(
        epochs=1, batch_size=BATCH, evaluate_every=10**6, evaluate_batches=1, precision="bfloat16", device="cuda"
    )
    with tempfile.TemporaryDirectory() as scratch:
        finetune_instructions(
            WritingGPT(new_gpt(config, seed=WEIGHTS_SEED)),
            {"train": entries, "validation": few},
            settings=settings,
            gradient_checkpointing=checkpointing,
            scratch=Path(scratch),
            listener=Listener(progress=progress),
        )
    return (times[WARM_UP + STEPS] - times[WARM_UP]) / STEPS, torch.cuda.max_memory_reserved()


def their_step(config: GPTConfig, entries: EncodedEntries) -> tuple[float, float, str]:
    """Seconds of a step of transformers' classes and bytes reserved; and that the losses are the same in float32."""
    _begin()
    gpt = new_gpt(config, seed=WEIGHTS_SEED)
    model = language_model(gpt).to("cuda")
    rows = list(range(BATCH))
    with torch.no_grad():
        loss, _ = Examples(entries, NextToken()).loss(Predicting(WritingGPT(gpt.to("cuda"))), rows)
        same = require_same("losses in float32", loss, _their_loss(model, entries, rows))
    del gpt
    _begin()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1, fused=True)
    torch.manual_seed(Settings().seed)
    batches = SortedOrder(entries.lengths(), entries.lengths(), BATCH, seed=Settings().seed).epoch()
    started = 0.0
    for number, batch in enumerate(batches[: WARM_UP + STEPS]):
        if number == WARM_UP:
            synchronise()
            started = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = _their_loss(model, entries, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    synchronise()
    return (time.perf_counter() - started) / STEPS, torch.cuda.max_memory_reserved(), same


def language_model(gpt: GPT) -> Any:
    """The same network in transformers' class, with a copy of the numbers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = gpt.config
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.context_length,
            n_embd=shape.emb_dim,
            n_head=shape.n_heads,
            n_layer=shape.n_layers,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )
    parameters = dict(model.transformer.named_parameters())
    with torch.no_grad():
        for name, tensor in named_tensors(gpt).items():
            parameters[name].copy_(tensor)
    return model


def _their_loss(model: Any, entries: EncodedEntries, rows: list[int]) -> torch.Tensor:
    """Their labels are the tokens themselves, which they shift; the end token behind the longest is added to both."""
    batch = entries.batch(rows)
    tokens = torch.nn.functional.pad(batch.inputs[0], (0, 1), value=entries.pad)
    labels = torch.nn.functional.pad(batch.targets, (1, 0), value=IGNORED)
    loss: torch.Tensor = model(input_ids=tokens.to("cuda"), labels=labels.to("cuda")).loss
    return loss


def _begin() -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
