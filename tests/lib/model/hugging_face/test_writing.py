"""Decoders of transformers as language models: their logits, what learns of them, and what they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib.errors import MessagesError, RecipeError, WeightsError
from lib.model.adapters import merge_adapters
from lib.model.follower import load_follower
from lib.model.hugging_face.writing import WritingTransformer, pretrained_transformer
from lib.model.language_model import Writing
from lib.model.trainable import Trainable
from tests.support.chats import write_chat_model
from tests.support.families import DECODERS, write_family

pytestmark = pytest.mark.slow

PROMPTS = [[7, 3, 11, 80, 200], [5], [40, 41, 42, 43, 44, 45, 46, 47], [9, 9, 2]]
GREEDY = Writing(max_new_tokens=12, batch_size=4)
DRAWN = Writing(max_new_tokens=12, batch_size=4, temperature=1.5, top_k=50, top_p=0.9, seed=3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write_chat_model(tmp_path_factory.mktemp("decoder"), name) for name in DECODERS}


def loaded(folder: Path, context_length: int = 64) -> WritingTransformer:
    return pretrained_transformer(folder, context_length=context_length, pad=0)


def of_transformers(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def llama(folders: dict[str, Path]) -> WritingTransformer:
    return loaded(folders["Llama"])


@pytest.mark.parametrize("family", DECODERS)
def test_padding_on_the_right_changes_no_logits_of_any_family(folders: dict[str, Path], family: str) -> None:
    model, theirs = loaded(folders[family]), of_transformers(folders[family])
    rows = torch.tensor([[7, 3, 11, 80, 200], [5, 9, 0, 0, 0]])
    with torch.no_grad():
        hidden = model.hidden(rows)
        for row, length in ((0, 5), (1, 2)):
            expected = theirs(input_ids=rows[row : row + 1, :length]).logits[0]
            torch.testing.assert_close(model.logits(hidden[row, :length]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("how", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("family", DECODERS)
def test_any_batch_writes_what_each_prompt_alone_would_have(
    folders: dict[str, Path], family: str, how: Writing
) -> None:
    model = loaded(folders[family])
    together = model.generate(PROMPTS, how, stops=(1, 7))
    alone = [model.generate([prompt], how, stops=(1, 7))[0] for prompt in PROMPTS]
    assert together == alone
    if how == GREEDY:
        assert [each.tokens for each in together] == [by_definition(model, prompt) for prompt in PROMPTS]


def by_definition(model: WritingTransformer, prompt: list[int], stops: tuple[int, ...] = (1, 7)) -> list[int]:
    """The likeliest token, one after the other, without a cache."""
    written: list[int] = []
    with torch.no_grad():
        while len(written) < GREEDY.max_new_tokens:
            token = int(model.logits(model.hidden(torch.tensor([[*prompt, *written]]))[0, -1:]).argmax())
            if token in stops:
                break
            written.append(token)
    return written


def test_a_seed_draws_the_same_and_another_one_something_else(llama: WritingTransformer) -> None:
    first, again = (llama.generate(PROMPTS, DRAWN, stops=()) for _ in range(2))
    other = llama.generate(PROMPTS, Writing(**{**vars(DRAWN), "seed": 4}), stops=())
    assert first == again != other
    state = torch.random.get_rng_state()
    llama.generate(PROMPTS, DRAWN, stops=())
    assert torch.equal(state, torch.random.get_rng_state())  # a sample during a training changes nothing of it


def test_a_text_ends_at_any_of_the_tokens_that_stop_it(llama: WritingTransformer) -> None:
    (whole,) = llama.generate(PROMPTS[:1], GREEDY, stops=())
    assert (len(whole.tokens), whole.stopped) == (12, False)
    third = whole.tokens[2]
    (ended,) = llama.generate(PROMPTS[:1], GREEDY, stops=(335, third))
    assert (ended.tokens, ended.stopped) == (whole.tokens[: whole.tokens.index(third)], True)


@pytest.mark.parametrize("family", ["Llama", "OPT"])  # OPT has a vector for each position, and no more of them
def test_no_text_grows_past_the_context(folders: dict[str, Path], family: str) -> None:
    model = loaded(folders[family], context_length=128)
    prompts = [[5] * 120, [6] * 3, [7] * 127]
    written = model.generate(prompts, GREEDY, stops=())
    assert [(len(each.tokens), each.stopped) for each in written] == [(8, False), (12, False), (1, False)]
    with pytest.raises(RecipeError, match="a prompt has 128 tokens, and the model sees 128: shorten it"):
        model.generate([[5] * 128], GREEDY, stops=())


@pytest.mark.parametrize(
    ("prompts", "changes", "error", "sentence"),
    [
        ([[1], []], {}, MessagesError, "prompt 2 has no tokens"),
        ([[336]], {}, WeightsError, "prompt 1 has the token 336, and the model knows 336 tokens"),
        ([[1]], {"max_new_tokens": 0}, RecipeError, "max_new_tokens is 0: use 1 or more"),
        ([[1]], {"top_p": 2.0, "temperature": 1.0}, RecipeError, "top_p is 2.0"),
    ],
)
def test_what_cannot_be_written_is_refused(
    llama: WritingTransformer, prompts: Any, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        llama.generate(prompts, Writing(**{**vars(GREEDY), **changes}), stops=())


def learning(model: WritingTransformer) -> set[str]:
    return {name for name, parameter in model.transformer.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("tied", [True, False])
def test_what_learns_is_what_was_named(tmp_path: Path, tied: bool) -> None:
    model = loaded(write_chat_model(tmp_path, tie_word_embeddings=tied))
    everything = {name for name, _ in model.transformer.named_parameters()}
    expected: dict[Trainable, set[str]] = {
        "head": set(),
        "last_block": {"model.norm.weight", *(name for name in everything if ".layers.3." in name)},
        "last_two_blocks": {
            "model.norm.weight",
            *(name for name in everything if ".layers.3." in name or ".layers.2." in name),
        },
        "all": everything,
    }
    for trainable, names in expected.items():
        model.freeze(trainable)
        assert learning(model) == names, trainable
    with pytest.raises(ValueError, match="has no adapters: add them first"):
        model.freeze("lora")


def test_adapters_learn_alone_and_are_merged(tmp_path: Path) -> None:
    model = loaded(write_chat_model(tmp_path))
    names = set(model.state_dict())
    tokens = torch.tensor([[7, 3, 11]])
    with torch.no_grad():
        before = model.logits(model.hidden(tokens)[0])
        model.add_adapters(rank=2, alpha=4.0, dropout=0.0, layers=("q_proj", "down_proj"), blocks=2)
        model.freeze("lora")
        torch.testing.assert_close(model.logits(model.hidden(tokens)[0]), before)
        assert len(learning(model)) == 2 * 2 * 2
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.fill_(0.5)
        adapted = model.logits(model.hidden(tokens)[0])
        assert not torch.allclose(adapted, before)
        merge_adapters(model)
        torch.testing.assert_close(model.logits(model.hidden(tokens)[0]), adapted, atol=1e-5, rtol=1e-5)
    assert set(model.state_dict()) == names


def gradients(model: WritingTransformer, tokens: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    hidden = model.hidden(tokens)
    torch.nn.functional.cross_entropy(model.logits(hidden[0]), tokens[0]).backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_checkpointing_keeps_less_and_changes_no_gradient(tmp_path: Path) -> None:
    model = loaded(write_chat_model(tmp_path)).train()
    model.freeze("all")
    tokens = torch.tensor([list(range(2, 40))])
    found: dict[bool, dict[str, Tensor]] = {}
    kept: dict[bool, int] = {}
    for used in (False, True):
        model.gradient_checkpointing = used
        assert model.gradient_checkpointing is used
        sizes: list[int] = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.hidden(tokens)
        kept[used] = sum(sizes)
        found[used] = gradients(model, tokens)
    assert kept[True] < 0.3 * kept[False]
    assert found[True].keys() == found[False].keys()
    for name, gradient in found[False].items():
        torch.testing.assert_close(found[True][name], gradient)


def test_a_saved_model_is_a_strangers_too(tmp_path: Path, folders: dict[str, Path]) -> None:
    """transformers stops where we do, and draws nothing of its own accord."""
    model = loaded(folders["Qwen3"])
    assert model.stops == (1, 7)
    (expected,) = model.generate(PROMPTS[:1], GREEDY, stops=(1, 7))
    model.save(tmp_path, (1, 7, 3))
    (tmp_path / "inference.json").write_text('{"network": "transformers", "context_length": 64, "pad": 0}')
    again = load_follower(tmp_path)
    assert again.stops == (1, 7, 3)
    assert again.generate(PROMPTS[:1], GREEDY, stops=(1, 7)) == [expected]
    theirs = of_transformers(tmp_path)
    assert not theirs.generation_config.do_sample
    assert theirs.generation_config.eos_token_id == [1, 7, 3]
    answer = theirs.generate(torch.tensor(PROMPTS[:1]), max_new_tokens=12)[0, len(PROMPTS[0]) :].tolist()
    assert answer[: len(expected.tokens)] == expected.tokens


def test_weights_without_their_output_matrix_are_refused(tmp_path: Path) -> None:
    write_family("Llama", tmp_path, tie_word_embeddings=False)
    with pytest.raises(WeightsError, match=r"do not fit the config.json beside them: missing lm_head\.weight"):
        loaded(tmp_path)


def test_a_family_that_writes_no_text_is_refused(tmp_path: Path) -> None:
    write_family("ModernBERT", tmp_path)
    with pytest.raises(WeightsError, match="has no network that writes text of 'modernbert': choose another model"):
        loaded(tmp_path)
