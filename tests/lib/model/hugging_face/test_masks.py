"""A card's masks give the numbers of those that transformers makes when it looks for padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib.model.backbone import Pooling
from lib.model.hugging_face import pooled
from lib.model.hugging_face.masks import masks_without_looking
from lib.model.hugging_face.pooled import load_backbone
from tests.support.families import CLASSIFIERS, FAMILIES, write_family

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [9, 8, 7, 6, 5, 0, 0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("lengths", [[12, 5], [12, 12]])
@pytest.mark.parametrize("family", FAMILIES)
def test_masks_of_a_card_give_the_same(
    family: str, lengths: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooling: Pooling = "cls" if family in CLASSIFIERS else "last_token"
    backbone = load_backbone(write_family(family, tmp_path), ("a", "b"), pooling=pooling, context_length=64, pad=0)
    with torch.no_grad():
        expected = backbone.pooled(TOKENS, torch.tensor(lengths))
        card = torch.device("meta")
        monkeypatch.setattr(pooled, "masks_without_looking", lambda device: masks_without_looking(card))
        torch.testing.assert_close(backbone.pooled(TOKENS, torch.tensor(lengths)), expected, rtol=0, atol=1e-5)
