"""The shapes of GPTs and the known sizes, without torch."""

from dataclasses import dataclass

from lib.errors import WeightsError
from lib.text.gpt2 import VOCABULARY


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT, what its positions may see, and how often it drops activations while training."""

    context_length: int = 1024  # tokens
    emb_dim: int = 768
    n_heads: int = 12
    n_layers: int = 12
    vocab_size: int = VOCABULARY
    dropout: float = 0.0  # probability, for embeddings, attention and both residual branches
    layer_norm_epsilon: float = 1e-5
    causal_mask: bool = True  # whether a position sees only itself and those before it, as GPT-2 was trained
    tied_output: bool = True  # whether the token embedding is the output matrix too, as in GPT-2

    def __post_init__(self) -> None:
        for field in ("context_length", "emb_dim", "n_heads", "n_layers", "vocab_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}, and must be at least 1")
        if self.emb_dim % self.n_heads:
            raise ValueError(f"emb_dim {self.emb_dim} is not a multiple of n_heads {self.n_heads}")


def numbers_of(config: GPTConfig) -> int:
    """Returns how many parameters a GPT of this shape has, without making one."""
    width = config.emb_dim
    block = 12 * width**2 + 13 * width  # qkv, projection, expansion, projection, their biases, and two norms
    tables = (config.vocab_size * (1 if config.tied_output else 2) + config.context_length) * width
    return config.n_layers * block + tables + 2 * width


def require_vocabulary(config: GPTConfig) -> None:
    """Raises WeightsError if the GPT has fewer tokens than its encoding."""
    if config.vocab_size < VOCABULARY:
        raise WeightsError(
            f"The backbone knows {config.vocab_size} tokens, and GPT-2's encoding has {VOCABULARY}: use weights that"
            " were made with that encoding"
        )


# Radford et al. 2019, table 2, with the head counts of OpenAI's released hparams.
SIZES: dict[str, GPTConfig] = {
    "tiny": GPTConfig(context_length=256, emb_dim=64, n_heads=4, n_layers=2),
    "gpt2-small": GPTConfig(emb_dim=768, n_heads=12, n_layers=12),
    "gpt2-medium": GPTConfig(emb_dim=1024, n_heads=16, n_layers=24),
    "gpt2-large": GPTConfig(emb_dim=1280, n_heads=20, n_layers=36),
    "gpt2-xl": GPTConfig(emb_dim=1600, n_heads=25, n_layers=48),
}
