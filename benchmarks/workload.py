"""What the rows measure with: messages, the shape of a model, and how much of either is run.

This module reads the data by the published procedure and sets the amounts. It times nothing.

The data is the SMS Spam Collection where it can be found, undersampled and split as chapter 6 of "Build a Large
Language Model (From Scratch)" does it; elsewhere the bundled sample, treated the same way. Nothing is downloaded.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.messages.balance import balance_messages
from lib.data.messages.reading import read_messages
from lib.data.messages.split import split_messages
from lib.data.parts import Parts, load_parts, save_parts
from lib.data.samples import messages as sample
from lib.data.source.data_file import DataFile
from lib.data.source.download import download
from lib.data.source.reader import How
from lib.data.tables import MESSAGES, SPLITS, TOKENS
from lib.data.tokens import write_tokens
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.text.gpt2 import gpt2_tokenizer

PROJECT = Path(__file__).resolve().parents[1]
ARCHIVE = "sms+spam+collection.zip"
MEMBER = "SMSSpamCollection"
SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"  # of the member
REAL = "SMS Spam Collection"
SAMPLE = "the bundled sample (the SMS Spam Collection was not found: name its archive with --data)"
EXPECTED = {"train": 1045, "validation": 149, "test": 300}  # messages of the real data
EXPECTED_TOKENS = 45_702  # of all three

SEED = 123  # the published procedure's, for the draw, the shuffle and the training
WEIGHTS_SEED = 1
LABELS = ("ham", "spam")


@dataclass(frozen=True)
class Split:
    """The messages of one split: their texts, their tokens (cut to the workload's width) and classes (0 is ham)."""

    texts: list[str]
    tokens: list[list[int]]
    targets: list[int]

    def first(self, count: int) -> "Split":
        """The first so many messages."""
        return Split(self.texts[:count], self.tokens[:count], self.targets[:count])


@dataclass(frozen=True)
class Workload:
    """The data: where it is from, its splits, and all texts of the source.

    width: tokens of the longest training message; what is padded at all is padded to this.
    """

    source: str
    splits: dict[str, Split]
    width: int
    texts: list[str]

    @property
    def messages(self) -> Split:
        """The messages of all splits."""
        parts = [self.splits[name] for name in SPLITS]
        return Split(
            [text for part in parts for text in part.texts],
            [tokens for part in parts for tokens in part.tokens],
            [target for part in parts for target in part.targets],
        )

    @property
    def tokens(self) -> int:
        """Tokens of all splits, without padding."""
        return sum(map(len, self.messages.tokens))


@dataclass(frozen=True)
class Amounts:
    """How much is run. The first five are the published procedure's; the others say how the slow sides are sampled."""

    epochs: int = 5
    batch_size: int = 8
    evaluate_every: int = 50  # batches
    evaluate_batches: int = 5  # of train and of validation each
    learning_rate: float = 5e-5
    weight_decay: float = 0.1
    padded_steps: int = 12  # of the padded loop
    padded_batches: int = 10  # of its evaluations
    trainer_share: int = 5  # every so-manieth batch of an epoch of the Trainer
    trainer_evaluated: int = 80  # messages
    predicted: int = 512  # texts that ours classifies
    one_at_a_time: int = 40  # texts
    pipeline: int = 192  # texts; a multiple of the batch
    repeats: int = 5  # of what takes no more than a second
    matrix_seconds: float = 0.4  # for each shape of a matrix product
    squares: tuple[int, ...] = (1024, 2048, 4096)  # of these, the square ones
    growth_unit: int = 500  # messages that are "1x"

    def steps(self, messages: int) -> int:
        """Training batches of the published procedure: whole ones only."""
        return self.epochs * (messages // self.batch_size)

    def evaluations(self, messages: int) -> int:
        """Evaluations on a few batches: after the first step, every `evaluate_every` steps, and after each epoch."""
        return len(range(0, self.steps(messages), self.evaluate_every)) + self.epochs


# A GPU is through the small amounts before its clock has settled.
GPU = Amounts(
    padded_steps=60,
    padded_batches=40,
    trainer_share=3,
    trainer_evaluated=400,
    predicted=100_000,
    one_at_a_time=200,
    pipeline=3200,
    squares=(4096, 8192),
)
QUICK = Amounts(
    epochs=1,
    evaluate_every=5,
    evaluate_batches=1,
    padded_steps=2,
    padded_batches=2,
    trainer_share=3,
    trainer_evaluated=16,
    predicted=64,
    one_at_a_time=4,
    pipeline=32,
    repeats=2,
    matrix_seconds=0.02,
    squares=(256,),
    growth_unit=8,
)
QUICK_MESSAGES = {"train": 48, "validation": 16, "test": 16}
QUICK_TEXTS = 200


@dataclass(frozen=True, eq=False)
class Bench:
    """One run of the benchmarks: the data, the model's shape, the amounts, a device, a folder for files.

    device: torch's name.
    say: gets a few words about what is measured next.
    """

    workload: Workload
    config: GPTConfig
    amounts: Amounts
    device: str
    folder: Path
    say: Callable[[str], None] = lambda _: None

    @property
    def judged(self) -> bool:
        """Whether the targets for a CPU are for this run."""
        return self.device == "cpu" and self.amounts == Amounts()

    @property
    def setting(self) -> dict[str, str | int]:
        """What was measured with, for the results."""
        config = self.config
        return {
            "data": self.workload.source,
            "messages": len(self.workload.messages.tokens),
            "tokens": self.workload.tokens,
            "padded_to": self.workload.width,
            "model": f"GPT-2's layout, {config.n_layers} blocks of width {config.emb_dim}, random weights",
            "device": self.device,
        }


def make_bench(
    data: Path | None, folder: Path, *, device: str, quick: bool, say: Callable[[str], None] = lambda _: None
) -> Bench:
    """Read the data and choose the amounts; `quick` is a tiny model on a few messages, to see that all works.

    Raises `FileNotFoundError` if `data` is named and not there.
    """
    workload = load_workload(data, folder)
    if not quick:
        return Bench(workload, SIZES["gpt2-small"], Amounts() if device == "cpu" else GPU, device, folder, say)
    few = {name: workload.splits[name].first(count) for name, count in QUICK_MESSAGES.items()}
    workload = replace(workload, splits=few, texts=workload.texts[:QUICK_TEXTS])
    return Bench(workload, SIZES["tiny"], QUICK, device, folder, say)


def real_archive(data: Path | None) -> Path | None:
    """The SMS Spam Collection's archive: `data` or in it, or in the folder $FINETUNE_REAL_DATA or ../shared/data."""
    given = data or Path(os.environ.get("FINETUNE_REAL_DATA") or PROJECT.parent / "shared" / "data")
    file = given / ARCHIVE if given.is_dir() else given
    if data is not None and not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: name the SMS Spam Collection's archive with --data")
    return file if file.is_file() else None


def load_workload(data: Path | None, folder: Path) -> Workload:
    """The messages, by the published procedure; files that are made on the way lie in `folder`."""
    archive = real_archive(data)
    member, sha256 = (MEMBER, SHA256) if archive else (sample.MEMBER, sample.SHA256)
    unpacked = folder / "source"
    unpacked.mkdir(exist_ok=True)
    source = download(
        [str(archive or sample.ARCHIVE)], unpacked, scratch=folder / "download", member=member, sha256=sha256
    )
    messages = read_messages(
        DataFile(source.file, source.file.name),
        How(format="tsv", quoting="csv" if archive else "none"),
        text_column=1,
        label_column=0,
        empty_text="error",
    ).frame()
    balanced = balance_messages(messages, method="undersample", seed=SEED).balanced
    splits = split_messages(
        balanced, train=0.7, validation=0.1, test=0.2, seed=SEED, stratify=False, group_duplicates=False
    )
    context_length = SIZES["tiny"].context_length
    for name, table in splits.tables().items():
        save_parts(table, folder / "messages" / name, MESSAGES)
    tokenized = write_tokens(
        {name: Parts(folder / "messages" / name, MESSAGES) for name in SPLITS},
        folder,
        labels=LABELS,
        tokenizer=gpt2_tokenizer(),
        max_length=None,
        context_length=context_length,
        scratch=folder / "scratch",
    )
    tokens = {name: load_parts(folder / name, TOKENS) for name in SPLITS}
    tables = {
        name: Split(
            splits.tables()[name]["text"].tolist(),
            [row.tolist() for row in tokens[name]["tokens"]],
            tokens[name]["target"].tolist(),
        )
        for name in SPLITS
    }
    workload = Workload(REAL if archive else SAMPLE, tables, tokenized.max_length, messages["text"].tolist())
    if archive:
        counts = {name: len(split.tokens) for name, split in tables.items()}
        assert (counts, workload.tokens) == (EXPECTED, EXPECTED_TOKENS), (counts, workload.tokens)
    return workload
