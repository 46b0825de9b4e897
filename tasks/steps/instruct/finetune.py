"""Fine-tunes the backbone to follow instructions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from lib.data.entries.files import earlier_turns
from lib.errors import MessagesError, RecipeError, WeightsError
from lib.files.jsonfile import load_json, save_json
from lib.model.places import GPT2
from lib.model.weights.saved import INFERENCE
from lib.recipes.instruct import InstructRecipe
from lib.text.prompts import CHAT, STYLES, PromptStyle, Style, chosen_style
from lib.text.tokenizer import load_tokenizer
from tasks.engine.step import Work, step
from tasks.steps.backbone import facts_of
from tasks.steps.instruct.tokenize import answerable, encoded_splits
from tasks.steps.together import TOGETHER, together
from tasks.steps.tokenizer import context_length, tokenizer_files
from tasks.steps.training import NOTED, device_identity, save_training, training_settings

if TYPE_CHECKING:
    from lib.inference.answerer import Question
    from lib.model.language_model import LanguageModel
    from lib.store.artifacts import Artifact
    from lib.text.tokenizer import Tokenizer
    from lib.training.instruct.batches import EncodedEntries

SAMPLE_TOKENS = 50  # of the answer after each epoch, as published


@step(
    "finetune_instructions",
    reads=["model.dropout", "model.tied_output", "prompt", "lora", "training"],
    unkeyed=["training.checkpoint_every", "training.device", *TOGETHER],
    identity=device_identity,
    noted=NOTED,
    tags=["gpu"],
)
@together(InstructRecipe)
def finetune_instructions(
    work: Work[InstructRecipe],
    tokenizer: Artifact,
    backbone: Artifact,
    split_entries: Artifact,
    tokenize_entries: Artifact,
) -> None:
    """Trains a decoder: weights and tokenizer in Hugging Face layout, `inference.json`, `history.parquet` and JSON
    files."""
    from lib.inference.answerer import Answerer
    from lib.model.language_model import Writing
    from lib.training.instruct.finetune import finetune_instructions as train

    recipe = work.recipe
    style, tokens = chosen_style(recipe.prompt.style, tokenizer.folder), load_tokenizer(tokenizer.folder)
    # Including the test split, so that its errors show before a long training.
    splits = encoded_splits(recipe, tokenize_entries)
    model = _model(recipe, tokens, tokenizer, backbone)
    asked = answerable(split_entries, tokenize_entries, "validation").iloc[:1]
    (question,) = zip(asked["instruction"], asked["input"], earlier_turns(asked), strict=True)
    writing = Writing(max_new_tokens=SAMPLE_TOKENS, batch_size=1)
    answerer = Answerer(model, style, tokens, recipe.training.precision, writing)
    _require_answerable(splits, model.longest_prompt)

    trained = train(
        model,
        splits,
        settings=training_settings(recipe.training, work.identity["device"]),
        published_order=recipe.training.order == "published",
        gradient_checkpointing=recipe.training.gradient_checkpointing,
        scratch=work.scratch,
        sample=lambda: answerer.write([question])[0].response,
        listener=work.listener,
        team=work.team,
    )
    if work.team.rank > 0:
        return  # the first one keeps what all of them have
    model.save(work.folder, answerer.stops)
    for file in tokenizer_files(tokenizer):
        shutil.copyfile(file, work.folder / file.name)
    use = {**model.use(), "prompt": _words(style), "precision": recipe.training.precision}
    save_json(use, work.folder / INFERENCE)
    max_length = load_json(tokenize_entries.file("tokens.json"))["max_length"]
    save_training(
        work,
        trained,
        max_length=max_length,
        network=facts_of(backbone),
        samples=_samples(style, question, trained.samples),
    )


def _model(recipe: InstructRecipe, tokens: Tokenizer, tokenizer: Artifact, backbone: Artifact) -> LanguageModel:
    """Loads the backbone with its output matrix and adapters, frozen except for the trainable part."""
    import torch

    model = _pretrained(recipe, tokens, tokenizer, backbone)
    if recipe.training.trainable == "lora":
        torch.manual_seed(recipe.training.seed)
        model.add_adapters(**recipe.lora.model_dump())
    model.freeze(recipe.training.trainable)
    return model


def _pretrained(recipe: InstructRecipe, tokens: Tokenizer, tokenizer: Artifact, backbone: Artifact) -> LanguageModel:
    facts, dropout, tied = facts_of(backbone), recipe.model.dropout, recipe.model.tied_output
    if facts["network"] == GPT2:
        from lib.model.gpt2.writing import pretrained_gpt

        return pretrained_gpt(backbone.folder, dropout=dropout, tied_output=tied)
    from lib.model.hugging_face.writing import pretrained_transformer

    if not facts["causal"]:
        raise WeightsError(
            f"model.weights is an encoder ({facts['family']}), which sees what follows a token and so cannot learn to"
            " write it: choose a decoder, such as GPT-2, Llama or Qwen"
        )
    if not tied:
        raise RecipeError(
            f"model.tied_output is false, and the {facts['family']} keeps the output matrix of its weights: leave it"
            " out"
        )
    return pretrained_transformer(
        backbone.folder, context_length=context_length(tokenizer), pad=tokens.pad, dropout=dropout
    )


def _require_answerable(splits: Mapping[str, EncodedEntries], longest: int | None) -> None:
    """Refuses, before a long training, entries that are to be answered and cannot be."""
    for name in ("validation", "test"):
        worst = max(splits[name].starts)
        if longest is not None and worst > longest:
            raise MessagesError(
                f"a {name} entry has {worst:,} tokens before its response, and the model can answer at most"
                f" {longest:,}: shorten the entry, leave it out with --encoding.too_long drop, or choose weights with a"
                " longer context"
            )


def _words(style: PromptStyle) -> dict[str, str]:
    """Returns what inference.json says of a style: its name, and its words unless a chat template has them."""
    if not isinstance(style, Style):
        return {"style": CHAT}
    name = next(name for name, each in STYLES.items() if each == style)
    return {"style": name, **asdict(style)}


def _samples(style: PromptStyle, question: Question, answers: list[str]) -> list[dict[str, int | str]]:
    """Returns the model's answer to one validation entry after each epoch."""
    prompt = style.prompt(*question)
    return [{"epoch": epoch, "prompt": prompt, "answer": answer} for epoch, answer in enumerate(answers, start=1)]
