"""The recipe of a model that follows instructions: the fields that differ from a classifier's."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from lib.extras import require
from lib.recipes.cluster import Cluster
from lib.recipes.sections import (
    HUB,
    BadRows,
    CheckpointEvery,
    Confidence,
    Encoding,
    Epochs,
    EvaluateEvery,
    FileFormat,
    Lora,
    Loss,
    Model,
    Optimisation,
    Place,
    PublishedWeights,
    Quoting,
    Recipe,
    Registry,
    Section,
    Seed,
    Separator,
    SeveralFiles,
    Sheet,
    Size,
    Source,
    Text,
    TextEncoding,
    Weights,
    check_adapters,
)
from lib.text.prompts import StyleName

# Defaults of each source; a recipe's own values win.
PRESETS: dict[str, dict[str, Any]] = {
    "sample": {"sha256": "f4116d65c2dcc7d873e9ac21964fe30a8db370f254d71736afd66c6e69b65d2c"},
    # The 1,100 entries of chapter 7 of "Build a Large Language Model (From Scratch)", Apache 2.0
    "published": {
        "url": (
            "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch07/01_main-chapter-code/"
            "instruction-data.json",
        ),
        "sha256": "7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
    },
    "file": {},
    "hub": {},
}


class EntryColumns(Section):
    """The names of an entry's fields, where they are others than those that are recognised: a question and its answer
    in two fields, or a list of messages in one."""

    instruction: Text | None = Field(default=None, description="the field with the question (null: recognised)")
    input: Text | None = Field(default=None, description="what the question is about; it may be missing")
    output: Text | None = Field(default=None, description="the answer")
    system: Text | None = Field(default=None, description="what a system says before the question; it may be missing")
    messages: Text | None = Field(default=None, description="the list of a conversation's messages")
    role: Text | None = Field(default=None, description="who says a message, a field of it")
    content: Text | None = Field(default=None, description="the words of a message, a field of it")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> EntryColumns:
        pair = [name for name in ("instruction", "input", "output") if getattr(self, name) is not None]
        talk = [name for name in ("messages", "role", "content") if getattr(self, name) is not None]
        if pair and talk:
            raise ValueError(
                f"data.columns names {pair[0]} and {talk[0]}: an entry has a question and its answer in two fields, or"
                " messages in one, so leave one of these out"
            )
        return self


class InstructData(Source):
    """The instructions, in JSON, Parquet or a table with a header row: an instruction with its output (Alpaca, Dolly,
    prompt and completion, question and answer), or conversations (ShareGPT, OpenAI's messages), recognised by the names
    of their fields."""

    presets: ClassVar = PRESETS
    bundled: ClassVar = "entries"
    ending_counts: ClassVar = False

    files: SeveralFiles = Field(
        default=None,
        description="several files instead of `data.url`: addresses, paths, folders and patterns such as in/*.jsonl,"
        " one or a list, which are all read, one after the other",
    )

    source: Literal["sample", "published", "file", "hub"] = Field(
        default="file",
        description="the bundled entries, the published 1,100, your own file at `data.url` or files in `data.files`, or"
        " the data set `data.repository` on a Hugging Face hub",
    )
    empty_text: Literal["error", "drop"] = Field(
        default="error",
        description="what to do with an entry that has nothing to learn, because its instruction or output is empty or"
        " missing, or nobody answers: refuse the file, or leave the entry out",
    )
    format: FileFormat = Field(default=None, description="how the file is written (null: by its contents)")
    encoding: TextEncoding = None
    separator: Separator = None
    quoting: Quoting = None
    sheet: Sheet = None
    bad_rows: BadRows = "error"
    splits: SeveralFiles = Field(
        default=None,
        description="with the source hub: the repository's split, or a list of splits, that is read (null: train)",
    )
    columns: EntryColumns = EntryColumns()

    @model_validator(mode="after")
    def _splits_are_of_a_repository(self) -> InstructData:
        if self.splits is not None and self.source != HUB:
            raise ValueError(
                f"data.splits is about a data set on a hub, but data.source is {self.source!r}: set it to {HUB!r}"
            )
        return self

    def given_files(self) -> dict[str, tuple[str, ...]]:
        """Returns what `data.files` names, which is all to be divided."""
        if self.files is None:
            return {}
        return {"train": (self.files,) if isinstance(self.files, str) else self.files}


class InstructSplit(Section):
    """How entries are divided, in the order of the file: train, then test, and the rest for validation."""

    train: float = Field(default=0.85, gt=0, lt=1, description="fraction of the entries to train on")
    test: float = Field(default=0.1, gt=0, lt=1, description="fraction that is answered and judged in the end")
    shuffle: bool = Field(default=False, description="shuffle the entries first")
    seed: Seed = Field(default=123, description="seed of the shuffle")
    group_duplicates: bool = Field(
        default=False,
        description="keep entries in one split whose instruction and input differ only in case, digits, punctuation or"
        " space",
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> InstructSplit:
        if self.train + self.test >= 1:
            raise ValueError(
                f"split.train + split.test is {self.train + self.test:g}: it must be below 1, since validation gets the"
                " rest"
            )
        return self


class Prompt(Section):
    """The text that an entry becomes."""

    style: StyleName = Field(
        default="auto",
        description="the words around instruction, input and response: alpaca's or phi3's as published; chat: by the"
        " chat template of the weights' tokenizer; auto: chat where there is a template, otherwise alpaca",
    )
    mask_instruction: bool | None = Field(
        default=None,
        description="learn to write the response only; false: the whole text, as published (null: true with chat, whose"
        " questions are the user's words, otherwise false)",
    )


class InstructEncoding(Encoding):
    """How texts become tokens."""

    max_length: int | None = Field(
        default=None,
        ge=1,
        description="tokens that the model reads of each entry, prompt and response together (null: as many as it can)",
    )
    too_long: Literal["cut", "drop"] = Field(
        default="cut",
        description="what to do with a longer entry: cut its end, or leave it out; either is counted and named",
    )


class InstructModel(Model):
    """The decoder that learns to follow instructions."""

    size: Size = "from-weights"
    weights: Weights = "openai-community/gpt2-medium"
    tied_output: bool = Field(
        default=True,
        description="predict tokens with the matrix that embeds them, as GPT-2 does; false: with a copy of it that"
        " learns by itself, as in the published procedure; other families keep what their weights have",
    )

    @model_validator(mode="after")
    def _it_can_write(self) -> InstructModel:
        if not self.causal_mask:
            raise ValueError(
                "model.causal_mask is false: a GPT that sees what follows cannot learn to write it, so leave it true"
            )
        return self


class InstructTraining(Optimisation):
    """The optimisation. The loss is the mean over all tokens of a batch that are to be predicted."""

    epochs: Epochs = 2
    evaluate_every: EvaluateEvery = 5
    checkpoint_every: CheckpointEvery = 100
    trainable: Literal["last_block", "last_two_blocks", "all", "lora"] = Field(
        default="all",
        description="which part learns: the last norm and the last block or two; everything; or small matrices beside"
        " those of the model (see `lora`)",
    )
    order: Literal["sorted", "published"] = Field(
        default="sorted",
        description="batches of entries of similar length, so that little is padded and none is left out, and an"
        " evaluation after each epoch; or shuffled without regard to length and without the last partial batch, and"
        " evaluated within epochs only",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="keep only what enters each block and compute the rest again for the gradients: less memory, about"
        " a third more time",
    )


class Respond(Section):
    """How the test entries are answered."""

    max_new_tokens: int = Field(default=256, ge=1, description="tokens that an answer may have")
    batch_size: int = Field(default=16, ge=1, description="answers that are written at the same time")
    temperature: float = Field(
        default=0.0, ge=0, description="0: always the likeliest token; above: drawn, the more evenly the higher"
    )
    top_k: int | None = Field(default=None, ge=1, description="draw from this many of the likeliest (null: all)")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="draw from the fewest whose probabilities add up to this (null: all)"
    )
    seed: Seed = Field(default=123, description="seed of the drawing")

    @model_validator(mode="after")
    def _something_is_drawn(self) -> Respond:
        for name, value in (("top_k", self.top_k), ("top_p", self.top_p)):
            if self.temperature == 0 and value is not None:
                raise ValueError(
                    f"respond.{name} is {value}, and with respond.temperature 0 nothing is drawn: raise that,"
                    f" or leave {name} out"
                )
        return self


class Judge(Section):
    """Who scores the answers to the test entries, from 0 to 100."""

    provider: Literal["off", "ollama", "openai"] = Field(
        default="off", description="nobody; an Ollama server; or any address that speaks OpenAI's protocol"
    )
    url: Place | None = Field(
        default=None,
        description="the server's address (null: the variable OLLAMA_HOST or this machine's port 11434 for ollama,"
        " OpenAI's own for openai)",
    )
    model: Text = Field(default="llama3", description="what the server calls the model that judges")
    key_variable: Text = Field(
        default="OPENAI_API_KEY",
        description="the environment variable, or else Prefect's Secret block, that holds the key, for an address that"
        " asks for one",
    )
    seed: Seed = Field(default=123, description="seed of the judge's drawing, the choice of anchors, and intervals")
    temperature: float = Field(default=0.0, ge=0, description="the judge's; 0: the same verdict each time")
    num_ctx: int = Field(default=2048, ge=1, description="tokens of context that an Ollama server gives the judge")
    parallel: int = Field(default=4, ge=1, description="questions to the judge at the same time")
    retries: int = Field(
        default=3, ge=0, description="times that a question is asked again after a failure that may pass"
    )
    reminders: int = Field(
        default=1, ge=0, description="times that the judge is reminded when its reply is no integer from 0 to 100"
    )
    anchors: int = Field(
        default=10,
        ge=0,
        description="test entries whose reference, an empty answer and another entry's reference are judged too, so"
        " that a broken judge shows",
    )
    timeout: float = Field(default=300.0, gt=0, description="seconds without a word from the server")


class InstructEvaluation(Section):
    """What the final figures contain."""

    confidence: Confidence = 0.95


class InstructPublished(Section):
    """Published figures, which a run prints beside its own; no step reads them."""

    weights: PublishedWeights = None
    before_loss: tuple[Loss, Loss] | None = Field(
        default=None, description="of train and validation before the first step, in nats"
    )
    judge_mean: float | None = Field(default=None, ge=0, le=100, description="the judge's mean score of the answers")


class InstructRecipe(Recipe):
    """All of a run that teaches a GPT to follow instructions."""

    data: InstructData
    split: InstructSplit = InstructSplit()
    prompt: Prompt = Prompt()
    encoding: InstructEncoding = InstructEncoding()
    model: InstructModel = InstructModel()
    lora: Lora = Lora()
    training: InstructTraining = InstructTraining()
    respond: Respond = Respond()
    judge: Judge = Judge()
    evaluation: InstructEvaluation = InstructEvaluation()
    cluster: Cluster = Cluster()
    published: InstructPublished = InstructPublished()
    registry: Registry = Registry()

    def require_extras(self) -> None:
        self.cluster.require_extras()
        require("sacrebleu", "metrics", "measuring answers by chrF")
        if self.training.trainable == "lora":
            require("peft", "lora", "training.trainable lora")
        if self.judge.provider == "ollama":
            require("ollama", "judge", "judge.provider ollama")

    @model_validator(mode="after")
    def _adapters_are_used(self) -> InstructRecipe:
        check_adapters(self.lora, "training.trainable", self.training.trainable)
        return self

    @model_validator(mode="after")
    def _published_figures_have_published_batches(self) -> InstructRecipe:
        if self.training.published_figures and self.training.order != "published":
            raise ValueError(
                "training.published_figures is true, and with training.order 'sorted' the batches are not the published"
                " ones: choose order 'published', or leave those figures out"
            )
        return self
