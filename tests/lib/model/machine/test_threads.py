"""Threads: one for narrow models, whatever torch had otherwise, and all as before in the end."""

import pytest
import torch

from lib.model.gpt2.sizes import SIZES
from lib.model.machine.threads import sensible_threads


@pytest.mark.parametrize(("size", "inside"), [("tiny", 1), ("gpt2-small", 2), ("gpt2-xl", 2)])
def test_narrow_models_get_one_thread_and_others_what_there_was(size: str, inside: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with sensible_threads(SIZES[size].emb_dim):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
