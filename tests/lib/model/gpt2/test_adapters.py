from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lib.errors import RecipeError
from lib.model.adapters import adapters, add_adapters, merge_adapters
from lib.model.backbone import Pooling
from lib.model.classifier import Classifier, freeze, load_classifier, new_classifier, save_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.usage import Usage
from lib.recipes.sections import Lora
from lib.store.fingerprint import code_fingerprint

CONFIG = GPTConfig(context_length=16, emb_dim=12, n_heads=3, n_layers=3)
TOKENS, LENGTHS = torch.tensor([[5, 6, 7, 50256], [8, 9, 10, 11]]), torch.tensor([3, 4])
LORA = Lora(rank=2, alpha=8, blocks=2)


def adapted(pooling: Pooling, lora: Lora = LORA) -> Classifier:
    adapt = methodcaller("add_adapters", **lora.model_dump())
    return new_classifier(
        PooledGPT(new_gpt(CONFIG, seed=1), pooling=pooling), ("a", "b"), trainable="lora", seed=3, adapt=adapt
    )


def classifier(pooling: Pooling = "last_token", **lora: Any) -> Classifier:
    """One whose adapters are not at their first zeros."""
    chosen = Lora(**{**LORA.model_dump(), **lora})
    made = adapted(pooling, chosen)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made.eval()


def test_adapters_change_nothing_before_the_first_step() -> None:
    plain = new_classifier(PooledGPT(new_gpt(CONFIG, seed=1), pooling="mean"), ("a", "b"), trainable="head", seed=3)
    new = adapted("mean")
    assert torch.equal(new.head.weight, plain.head.weight)
    torch.testing.assert_close(new(TOKENS, LENGTHS), plain(TOKENS, LENGTHS), rtol=0, atol=1e-6)


def test_only_the_head_and_the_adapters_of_the_named_layers_of_the_last_blocks_learn() -> None:
    learning = {n for n, p in classifier(layers=("attention.qkv",)).named_parameters() if p.requires_grad}
    adapters = {f"backbone.gpt.blocks.{b}.attention.qkv.lora_{m}.default.weight" for b in (1, 2) for m in "AB"}
    assert learning == adapters | {"head.weight", "head.bias"}
    everywhere = classifier(blocks=None)
    assert everywhere.backbone.cut == 0
    assert sum(".lora_A." in name for name, _ in everywhere.named_parameters()) == 3 * 4
    assert classifier().backbone.cut == 1


def test_layers_are_named_by_the_last_part_of_their_names_or_not_at_all() -> None:
    learning = {n.rpartition(".lora_")[0] for n, p in classifier(layers=("qkv",)).named_parameters() if ".lora_" in n}
    assert learning == {f"backbone.gpt.blocks.{block}.attention.qkv" for block in (1, 2)}
    with pytest.raises(RecipeError) as refused:
        classifier(layers=("qkv", "q_proj"))
    assert str(refused.value) == (
        "lora.layers has 'q_proj', and the linear layers of this model's blocks are attention.qkv,"
        " attention.projection, mlp.expansion, mlp.projection: name some of them, or null for all"
    )


def test_an_adapter_adds_its_product_times_alpha_over_rank() -> None:
    torch.manual_seed(0)
    gpt = new_gpt(CONFIG, seed=1)
    before = gpt.get_parameter("blocks.2.mlp.expansion.weight").clone()
    add_adapters(gpt, gpt.blocks, rank=2, alpha=6.0, dropout=0.0, layers=["mlp.expansion"], blocks=1)
    down, up = (gpt.get_parameter(f"blocks.2.mlp.expansion.lora_{name}.default.weight") for name in "AB")
    assert (tuple(down.shape), tuple(up.shape)) == ((2, 12), (48, 2))
    nn.init.ones_(up)
    expected = before + 6.0 / 2 * (up @ down)
    merge_adapters(gpt)
    torch.testing.assert_close(gpt.get_parameter("blocks.2.mlp.expansion.weight"), expected)


@pytest.mark.parametrize("pooling", ["last_token", "padded_last", "first_token", "mean"])
def test_merged_is_unmerged_within_a_hundred_thousandth(pooling: Pooling) -> None:
    model = classifier(pooling)
    before = model(TOKENS, LENGTHS)
    merge_adapters(model)
    after = model(TOKENS, LENGTHS)
    assert before.abs().max() > 1
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert not adapters(model)
    assert {name.removeprefix("backbone.gpt.") for name, _ in model.named_parameters()} - {
        "head.weight",
        "head.bias",
    } == {name for name, _ in new_gpt(CONFIG, seed=1).named_parameters()}


def test_what_is_saved_is_an_ordinary_classifier(tmp_path: Path) -> None:
    model, usage = classifier(), Usage(max_length=8, padding="batch", precision="float32")
    with pytest.raises(ValueError, match="merge them"):
        save_classifier(tmp_path, model, usage)
    merge_adapters(model)
    save_classifier(tmp_path, model, usage)
    loaded = load_classifier(tmp_path)
    assert loaded.backbone.cut == 1
    # The head's bias is now in the norm before it.
    torch.testing.assert_close(loaded(TOKENS, LENGTHS), model(TOKENS, LENGTHS), rtol=0, atol=1e-5)


def test_the_same_seed_gives_the_same_adapters_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    first = adapted("mean")
    drawn = torch.rand(1)
    second = adapted("mean")
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters(), strict=True))
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))


def test_lora_without_adapters_is_refused() -> None:
    model = new_classifier(PooledGPT(new_gpt(CONFIG, seed=1), pooling="mean"), ("a", "b"), trainable="head", seed=3)
    with pytest.raises(ValueError, match="has no adapters"):
        freeze(model, "lora")


def test_nothing_that_serves_a_classifier_reaches_the_adapters() -> None:
    assert "lib.model.gpt2.adapters" not in code_fingerprint("lib.serving.classifier")
    assert "lib.model.classifier" in code_fingerprint("lib.serving.classifier")
