"""The learning rate as a function of the optimizer step alone, so that resuming needs no state for it."""

import math


def learning_rate_factor(step: int, *, schedule: str, warmup_steps: int, total_steps: int) -> float:
    """Returns the factor on the recipe's learning rate at optimizer step `step`, counted from 0.

    Rises linearly over `warmup_steps` to 1 at the last of them; then stays at 1 (`constant`), or falls along half a
    cosine towards 0, which it would reach one step after the last (`cosine`).
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))
