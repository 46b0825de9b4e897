"""The second flow's steps with a decoder of transformers and its chat template: what they leave, who can use it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.data.entries.files import load_entries
from lib.data.samples.entries import FILE as SAMPLE
from lib.data.tables import ANSWERS, ENTRIES, LONG_ENTRIES, load_table
from lib.errors import FinetuneError, MessagesError, RecipeError, WeightsError
from lib.inference.answerer import Answerer
from lib.model.language_model import Writing
from lib.progress import NOBODY, Listener
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import build_recipe
from lib.serving.follower import log_follower
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.text.tokenizer import load_tokenizer
from tasks.steps.backbone import backbone
from tasks.steps.download import download
from tasks.steps.instruct.entries import entries
from tasks.steps.instruct.evaluate import evaluate_answers
from tasks.steps.instruct.finetune import finetune_instructions
from tasks.steps.instruct.respond import respond
from tasks.steps.instruct.split import split_entries
from tasks.steps.instruct.tokenize import encoded_splits, tokenize_entries
from tasks.steps.tokenizer import tokenizer
from tests.support.chats import write_chat_model, write_chat_tokenizer
from tests.support.entries import entry, special
from tests.support.families import write_family
from tests.support.procedure import perform
from tests.support.stranger import logged_by

pytestmark = pytest.mark.slow

STEPS = (
    *(download, entries, split_entries, tokenizer, tokenize_entries, backbone),
    *(finetune_instructions, respond, evaluate_answers),
)
QUESTIONS = [("Is it?", ""), ("Say no", "to what is asked")]


def recipe(data: Path, weights: Path, **sections: Mapping[str, Any]) -> InstructRecipe:
    training = {"trainable": "lora", "epochs": 1, "learning_rate": 0.01, "device": "cpu", "precision": "float32"}
    given: dict[str, Any] = {
        "name": "tiny",
        "data": {"url": f"{data}"},
        "model": {"weights": f"{weights}"},
        "respond": {"max_new_tokens": 8},
        **sections,
    }
    return build_recipe({**given, "training": {**training, **sections.get("training", {})}}, model=InstructRecipe)


def run(store: FolderStore, chosen: InstructRecipe, *, until: Any = evaluate_answers) -> dict[str, Artifact]:
    """The artifacts of the steps up to one, by name."""
    made: dict[str, Artifact] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tasks.steps.together.watched", unheard)  # there is no MLflow run here
        for step in STEPS:
            made[step.name] = perform(store, chosen, step, **{name: made[name] for name in step.inputs})
            if step is until:
                break
    return made


@contextmanager
def unheard(*_: Any) -> Iterator[Listener]:
    yield NOBODY


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "few.json"
    file.write_text(json.dumps(json.loads(SAMPLE.read_text(encoding="utf-8"))[:40]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("weights"), max_position_embeddings=512)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: Path, weights: Path) -> dict[str, Artifact]:
    return run(FolderStore(tmp_path_factory.mktemp("store")), recipe(data, weights))


@pytest.fixture(scope="module")
def saved(made: dict[str, Artifact]) -> Path:
    return made["finetune_instructions"].folder


def test_a_saved_model_says_how_it_is_asked(saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "inference.json", "manifest.json"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("history.parquet", "cost.json", "training.json", "recipe.json"),
    }
    assert json.loads((saved / "inference.json").read_text()) == {
        "network": "transformers",
        "context_length": 512,
        "pad": 1,
        "prompt": {"style": "chat"},
        "precision": "float32",
    }
    assert json.loads((saved / "generation_config.json").read_text())["eos_token_id"] == [3, 1, 7]


def test_only_the_assistants_words_are_learnt_and_the_end_of_its_turn(
    data: Path, weights: Path, made: dict[str, Artifact]
) -> None:
    chosen = recipe(data, weights)
    split = encoded_splits(chosen, made["tokenize_entries"])["test"]
    targets = split.batch([0]).targets
    learnt = targets[0][targets[0] >= 0].tolist()
    first = load_table(made["split_entries"].file("test.parquet"), ENTRIES).iloc[0]
    reader = load_tokenizer(made["tokenizer"].folder)
    assert reader.decode(learnt[:-1]) == first["output"]
    assert learnt[-1] == entry(reader, "<|im_end|>", "", marked=True)[0][0]
    whole = encoded_splits(recipe(data, weights, prompt={"mask_instruction": False}), made["tokenize_entries"])["test"]
    assert not whole.mask_instruction


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> dict[str, Artifact]:
    """A run on conversations of two turns, one of which a system begins and one of which is too long."""
    rows = json.loads(SAMPLE.read_text(encoding="utf-8"))[:80]
    says = [
        {"role": role, "content": content}
        for row in rows
        for role, content in (("user", row["instruction"]), ("assistant", row["output"]))
    ]
    talks = [{"messages": says[start : start + 4]} for start in range(0, len(says), 4)]
    talks[0]["messages"] = [{"role": "system", "content": "Be brief."}, *talks[0]["messages"]]
    talks[-1]["messages"][0] = {"role": "user", "content": "word " * 600}
    file = tmp_path_factory.mktemp("talks") / "talks.jsonl"
    file.write_text("\n".join(map(json.dumps, talks)))
    chosen = recipe(file, weights, encoding={"too_long": "drop"})
    return run(FolderStore(tmp_path_factory.mktemp("store")), chosen)


def test_all_answers_of_a_conversation_are_learnt_and_the_last_is_written(
    talks: dict[str, Artifact], weights: Path
) -> None:
    split = encoded_splits(recipe(weights, weights), talks["tokenize_entries"])["train"]
    targets = split.batch([0]).targets
    reader = load_tokenizer(talks["tokenizer"].folder)
    end = special(reader, "<|im_end|>")
    learnt = [token for token in targets[0].tolist() if token >= 0]
    first = load_entries(talks["split_entries"].file("train.parquet")).iloc[0]
    assert [turn.role for turn in first["earlier"]] == ["system", "user", "assistant"]
    assert learnt.count(end) == 2
    assert reader.decode(learnt) == f"{first['earlier'][-1].content}{first['output']}"
    answers = load_entries(talks["respond"].file("answers.parquet"), ANSWERS)
    assert [len(turns) for turns in answers["earlier"]] == [2] * 4
    published = json.loads(talks["respond"].file("instruction-data-with-response.json").read_text())
    assert published[0]["earlier"][0]["role"] == "user"


def test_what_is_too_long_is_in_no_split_and_is_named(talks: dict[str, Artifact]) -> None:
    long = load_table(talks["tokenize_entries"].file("long_entries.parquet"), LONG_ENTRIES)
    assert long[["id", "split", "outcome"]].values.tolist() == [[39, "validation", "left out"]]
    reports = json.loads(talks["tokenize_entries"].file("tokens.json").read_text())["splits"]
    assert [report["rows"] for report in reports.values()] == [34, 1, 4]
    assert (
        "entries longer than the 512 tokens that the model reads: 1 left out; the first are 40"
        in talks["tokenize_entries"].file("warnings.json").read_text()
    )


def test_answers_are_measured(made: dict[str, Artifact]) -> None:
    answers = load_table(made["respond"].file("answers.parquet"), ANSWERS)
    metrics = json.loads(made["evaluate_answers"].file("metrics.json").read_text())
    assert metrics["answers"]["answers"] == len(answers) == 4
    assert set(metrics["splits"]) == {"train", "validation", "test"}
    assert len(json.loads(made["finetune_instructions"].file("training.json").read_text())["samples"]) == 1


def test_the_same_answers_alone_and_in_a_batch(saved: Path) -> None:
    def answers(questions: list[tuple[str, str]], batch_size: int) -> list[str]:
        writing = Writing(max_new_tokens=8, batch_size=batch_size)
        return list(Answerer.load(saved, device="cpu", writing=writing).answer(questions))

    assert answers(QUESTIONS, 2) == answers(QUESTIONS, 1)
    long = [("fine", ""), ("word " * 600, "")]
    with pytest.raises(MessagesError, match=r"question 2 has [0-9,]+ tokens as a prompt, and the model can answer at"):
        answers(long, 2)


def test_transformers_alone_writes_the_same(saved: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reader, network = AutoTokenizer.from_pretrained(saved), AutoModelForCausalLM.from_pretrained(saved)
    writing = Writing(max_new_tokens=8, batch_size=1)
    ours = Answerer.load(saved, device="cpu", writing=writing).write(QUESTIONS)
    for (instruction, input_), expected in zip(QUESTIONS, ours, strict=True):
        content = f"{instruction}\n\n{input_}" if input_ else instruction
        asked = reader.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            written = network.generate(**asked, max_new_tokens=8)[0, asked["input_ids"].shape[1] :]
        assert reader.decode(written, skip_special_tokens=True).strip() == expected.response


def test_other_styles_have_their_words_in_the_saved_model(tmp_path: Path, data: Path, weights: Path) -> None:
    made = run(FolderStore(tmp_path), recipe(data, weights, prompt={"style": "phi3"}), until=finetune_instructions)
    use = json.loads(made["finetune_instructions"].file("inference.json").read_text())
    assert use["prompt"]["style"] == "phi3"
    assert use["prompt"]["before_instruction"] == "<|user|>\n"
    writing = Writing(max_new_tokens=4, batch_size=1)
    assert Answerer.load(made["finetune_instructions"].folder, device="cpu", writing=writing).write(QUESTIONS)


def test_a_logged_model_answers_in_a_fresh_process(
    tmp_path: Path, made: dict[str, Artifact], saved: Path, new_database: Path
) -> None:
    folder = tmp_path / "registered"
    folder.mkdir()
    for file in saved.iterdir():
        if file.name not in ("manifest.json", "recipe.json"):
            (folder / file.name).write_bytes(file.read_bytes())
    respond_ = {"max_new_tokens": 8, "batch_size": 2, "temperature": 0.0, "top_k": None, "top_p": None, "seed": 1}
    use = json.loads((folder / "inference.json").read_text())
    (folder / "inference.json").write_text(json.dumps({**use, "respond": respond_}))
    with logged_by(log_follower, folder, tmp_path, new_database) as logged:
        assert {"transformers", "tokenizers", "jinja2", "torch"} <= logged.required().keys()
        seen = logged.ask([{"instruction": instruction, "input": input_} for instruction, input_ in QUESTIONS])
    assert [row for (row,) in seen["rows"]] == list(Answerer.load(folder, device="cpu").answer(QUESTIONS))


def encoder(folder: Path) -> Path:
    write_family("BERT", folder, auto="AutoModelForMaskedLM", vocab_size=336, max_position_embeddings=512)
    return write_chat_tokenizer(folder)


def long_context(folder: Path) -> Path:
    return write_chat_model(folder, max_position_embeddings=512)


def without_template(folder: Path) -> Path:
    return write_chat_model(folder, template=None)


@pytest.mark.parametrize(
    ("write", "sections", "error", "sentence"),
    [
        (encoder, {}, WeightsError, r"model.weights is an encoder \(bert\), which sees what follows a token"),
        (long_context, {"model": {"tied_output": False}}, RecipeError, "model.tied_output is false, and the llama"),
        (without_template, {"prompt": {"style": "chat"}}, RecipeError, "prompt.style is 'chat', and the tokenizer of"),
        (
            write_chat_model,
            {"prompt": {"style": "alpaca"}},
            MessagesError,
            r"a (test|validation) entry has [0-9,]+ tokens before its response, and the model can answer at most 127",
        ),
        (write_chat_model, {}, MessagesError, "has nothing left to learn: its instruction and input fill all 40"),
    ],
    ids=["encoder", "tied", "no template", "longer than the context", "nothing left"],
)
def test_refused_before_anything_is_trained(
    tmp_path: Path, data: Path, write: Any, sections: dict[str, Any], error: type[FinetuneError], sentence: str
) -> None:
    weights = write(tmp_path / "weights")
    model = {"weights": f"{weights}", **sections.get("model", {})}
    more = {"encoding": {"max_length": 40}} if "nothing left" in sentence else {}
    chosen = recipe(data, weights, **{**sections, **more, "model": model})
    with pytest.raises(error, match=sentence) as refused:
        run(FolderStore(tmp_path / "store"), chosen, until=finetune_instructions)
    assert "\n" not in f"{refused.value}"
