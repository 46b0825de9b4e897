"""Fine-tunes the GPT to follow instructions."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

from lib.data.tables import ENTRIES, SPLITS, load_table
from lib.errors import WeightsError
from lib.files.jsonfile import load_json, save_json
from lib.model.places import GPT2
from lib.model.weights.saved import INFERENCE
from lib.text.prompts import Style, named_style
from lib.text.tokenizer import load_tokenizer
from tasks.engine.step import Work, step
from tasks.record.live import watched
from tasks.steps.backbone import facts_of
from tasks.steps.tokenizer import tokenizer_files
from tasks.steps.training import NOTED, device_identity, save_training, training_settings

if TYPE_CHECKING:
    from lib.model.gpt2.gpt import GPT
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact

SAMPLE_TOKENS = 50  # of the answer after each epoch, as published


@step(
    "finetune_instructions",
    reads=["model.dropout", "model.tied_output", "prompt", "lora", "training"],
    unkeyed=["training.checkpoint_every", "training.device"],
    identity=device_identity,
    noted=NOTED,
    tags=["gpu"],
)
def finetune_instructions(
    work: Work[InstructRecipe],
    tokenizer: Artifact,
    backbone: Artifact,
    split_entries: Artifact,
    tokenize_entries: Artifact,
) -> None:
    """Trains a GPT: weights and tokenizer in Hugging Face layout, `inference.json`, `history.parquet` and JSON
    files."""
    from lib.inference.answerer import Answerer, Writing
    from lib.model.gpt2.weights import save_gpt
    from lib.training.instruct.batches import load_splits
    from lib.training.instruct.finetune import finetune_instructions as train

    recipe = work.recipe
    style, tokens = named_style(recipe.prompt.style), load_tokenizer(tokenizer.folder)
    # Including the test split, so that its errors show before a long training.
    splits = load_splits(tokenize_entries.folder, SPLITS, mask_instruction=recipe.prompt.mask_instruction)
    gpt = _gpt(recipe, backbone)
    asked = load_table(split_entries.file("validation.parquet"), ENTRIES).iloc[0]
    question = (asked["instruction"], asked["input"])

    def sample(gpt: GPT) -> str:
        writing = Writing(max_new_tokens=SAMPLE_TOKENS, batch_size=1)
        (written,) = Answerer(gpt, style, tokens, recipe.training.precision, writing).write([question])
        return written.response

    with watched(work, "finetune_instructions") as listener:
        trained = train(
            gpt,
            splits,
            settings=training_settings(recipe.training, work.identity["device"]),
            published_order=recipe.training.order == "published",
            gradient_checkpointing=recipe.training.gradient_checkpointing,
            scratch=work.scratch,
            sample=sample,
            listener=listener,
        )
    save_gpt(gpt, work.folder)
    for file in tokenizer_files(tokenizer):
        shutil.copyfile(file, work.folder / file.name)
    use = {"network": GPT2, "prompt": asdict(style), "precision": recipe.training.precision}
    save_json(use, work.folder / INFERENCE)
    max_length = load_json(tokenize_entries.file("tokens.json"))["max_length"]
    save_training(
        work,
        trained,
        max_length=max_length,
        network=facts_of(backbone),
        samples=_samples(style, question, trained.samples),
    )


def _gpt(recipe: InstructRecipe, backbone: Artifact) -> GPT:
    """Builds the backbone with its output matrix and adapters, frozen except for the trainable part."""
    import torch

    from lib.model.adapters import add_adapters
    from lib.model.gpt2.freezing import freeze_gpt
    from lib.model.gpt2.weights import load_gpt

    gpt = load_gpt(backbone.folder, dropout=recipe.model.dropout)
    if recipe.model.tied_output and gpt.output is not None:
        raise WeightsError(
            "the weights have an output matrix of their own, and model.tied_output is true: set it to false, or use"
            " weights whose token embedding is the output matrix"
        )
    if not recipe.model.tied_output:
        gpt.untie_output()
    if recipe.training.trainable == "lora":
        torch.manual_seed(recipe.training.seed)
        add_adapters(gpt, gpt.blocks, **recipe.lora.model_dump())
    freeze_gpt(gpt, recipe.training.trainable)
    return gpt


def _samples(style: Style, question: tuple[str, str], answers: list[str]) -> list[dict[str, int | str]]:
    """Returns the GPT's answer to one validation entry after each epoch."""
    prompt = style.prompt(*question)
    return [{"epoch": epoch, "prompt": prompt, "answer": answer} for epoch, answer in enumerate(answers, start=1)]
