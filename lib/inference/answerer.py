"""Answers instructions with a saved model.

The prompt's wording comes from the file beside the weights, not from today's code, so that it agrees with the training.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from lib.errors import MessagesError
from lib.model.gpt2.generation import generate
from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.weights import load_gpt
from lib.model.machine.device import device_name
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.progress import Progress, silent
from lib.text.prompts import Style
from lib.text.tokenizer import LONGEST_TEXT, Tokenizer, load_tokenizer

WINDOW = 256  # questions in memory at once: enough to batch prompts of similar length


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    response: the answer, as `Style.answer` finds it.
    tokens: how many were generated, without the end token.
    stopped: whether the model ended by itself, before the limit of new tokens.
    """

    response: str
    tokens: int
    stopped: bool


@dataclass(frozen=True)
class Writing:
    """How answers are generated; `lib.model.gpt2.generation.generate` describes the fields."""

    max_new_tokens: int
    batch_size: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Answerer:
    """A model with its prompt style, tokenizer and generation settings. It runs on the device of `gpt`.

    precision: of the matrix products, "float32" or "bfloat16".
    """

    gpt: GPT
    style: Style
    tokenizer: Tokenizer
    precision: str
    writing: Writing

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", writing: Writing | None = None) -> "Answerer":
        """Loads a model's folder: model.safetensors, config.json, inference.json and its tokenizer.

        `writing` overrides the settings that registration adds to the folder. Raises WeightsError if a file is missing,
        damaged or does not fit the others, RecipeError if there is no such device ("auto", "cpu" or "cuda").
        """
        saved = SavedFields(folder / INFERENCE)
        return cls(
            load_gpt(folder, device=device_name(device)).eval(),
            Style(
                before_instruction=saved.get("prompt.before_instruction", str),
                before_input=saved.get("prompt.before_input", str),
                before_response=saved.get("prompt.before_response", str),
            ),
            load_tokenizer(folder),
            precision=saved.get("precision", str),
            writing=writing or _saved_writing(saved),
        )

    def answer(self, questions: Iterable[tuple[str, str]]) -> Iterator[str]:
        """Yields an answer to each question, in order, reading `WINDOW` questions at a time.

        A question is an instruction and its input ("" for none). Raises MessagesError, naming the position (from 1), if
        an instruction is empty or one of the two is not a string.
        """
        waiting = iter(questions)
        before = 0
        while window := list(islice(waiting, WINDOW)):
            for position, question in enumerate(window, start=before + 1):
                _require_question(*question, position)
            for written in self.write(window):
                yield written.response
            before += len(window)

    def write(self, questions: Sequence[tuple[str, str]], *, progress: Progress = silent) -> list[Written]:
        """Writes a response to each question, in order; questions do not influence each other.

        A prompt that fills the context is answered from its last part. A character of several bytes that the limit cuts
        is left out; other bytes that are not UTF-8 become U+FFFD. Tokens outside the encoding (a vocabulary padded to a
        round number) have no text. Raises what `generate` raises.
        """
        continuations = generate(
            self.gpt,
            self.tokenizer.encode(self.style.prompt(instruction, input_) for instruction, input_ in questions),
            **asdict(self.writing),
            end_token=self.tokenizer.end,
            precision=self.precision,
            progress=progress,
        )
        most = self.writing.max_new_tokens
        return [
            Written(self.style.answer(self.tokenizer.decode(tokens)), len(tokens), stopped=len(tokens) < most)
            for tokens in continuations
        ]


def _saved_writing(saved: SavedFields) -> Writing:
    return Writing(
        max_new_tokens=saved.get("respond.max_new_tokens", int),
        batch_size=saved.get("respond.batch_size", int),
        temperature=saved.get("respond.temperature", float | int),
        top_k=saved.get("respond.top_k", int | None),
        top_p=saved.get("respond.top_p", float | int | None),
        seed=saved.get("respond.seed", int),
    )


def _require_question(instruction: object, input: object, position: int) -> None:
    for name, text in (("instruction", instruction), ("input", input)):
        if not isinstance(text, str):
            raise MessagesError(f"the {name} of question {position} is not a string but {text!r}: give it as a string")
        if len(text) > LONGEST_TEXT:
            raise MessagesError(
                f"the {name} of question {position} has {len(text):,} characters: cut it, {LONGEST_TEXT:,} is the most"
                " that can be encoded"
            )
    if isinstance(instruction, str) and not instruction.strip():
        raise MessagesError(f"the instruction of question {position} is empty: leave it out, nothing is asked")
