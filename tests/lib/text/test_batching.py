import subprocess
import sys

import numpy as np
import pytest

from lib.errors import MessagesError, RecipeError
from lib.text.batching import Padding, pad_tokens, padding_width
from tests.support.e2e import PROJECT


def test_pads_at_the_right_and_counts_real_tokens() -> None:
    tokens, lengths = pad_tokens([[1, 2, 3], [4]])
    assert tokens.tolist() == [[1, 2, 3], [4, 50256, 50256]]
    assert lengths.tolist() == [3, 1]
    assert tokens.dtype == lengths.dtype == np.int64


def test_pads_to_a_given_width_with_a_given_token() -> None:
    tokens, lengths = pad_tokens([np.array([7, 8], dtype=np.int32)], width=4, pad=0)
    assert tokens.tolist() == [[7, 8, 0, 0]]
    assert lengths.tolist() == [2]


def test_refuses_a_sequence_longer_than_the_width() -> None:
    with pytest.raises(ValueError, match="3 tokens does not fit a width of 2"):
        pad_tokens([[1, 2, 3]], width=2)


def test_refuses_a_message_without_tokens() -> None:
    with pytest.raises(MessagesError, match="no tokens"):
        pad_tokens([[1], []])


def test_it_needs_no_torch() -> None:
    program = "import sys, lib.text.batching; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)


@pytest.mark.parametrize(("padding", "width"), [("batch", None), ("longest", 120), (120, 120), (200, 200)])
def test_width_of_each_padding(padding: Padding, width: int | None) -> None:
    assert padding_width(padding, max_length=120, context_length=256) == width


@pytest.mark.parametrize("padding", [119, 257])
def test_refuses_a_number_that_messages_or_context_do_not_fit(padding: int) -> None:
    with pytest.raises(RecipeError, match=rf"classifier\.padding is {padding} tokens.* 120 .* 256 "):
        padding_width(padding, max_length=120, context_length=256)


def test_refuses_max_length_over_the_context() -> None:
    with pytest.raises(RecipeError, match=r"encoding\.max_length is 300 tokens.*256"):
        padding_width("batch", max_length=300, context_length=256)
