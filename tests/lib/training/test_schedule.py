import pytest

from lib.training.schedule import learning_rate_factor


def factors(schedule: str, warmup_steps: int, total_steps: int) -> list[float]:
    return [
        learning_rate_factor(step, schedule=schedule, warmup_steps=warmup_steps, total_steps=total_steps)
        for step in range(total_steps)
    ]


def test_constant_without_warm_up_is_one() -> None:
    assert factors("constant", 0, 3) == [1, 1, 1]


def test_warm_up_rises_linearly_to_one() -> None:
    assert factors("constant", 4, 6) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_cosine_falls_from_one_along_half_a_wave() -> None:
    assert factors("cosine", 2, 6) == pytest.approx([0.5, 1, 1, 0.8535534, 0.5, 0.1464466])


def test_warm_up_longer_than_the_training_is_cut_off() -> None:
    assert factors("cosine", 10, 3) == pytest.approx([0.1, 0.2, 0.3])
