from dataclasses import asdict

from lib.recipes.sections import Optimisation
from lib.training.settings import Settings


def test_the_settings_are_the_recipes_fields_with_their_defaults() -> None:
    assert asdict(Settings()) == Optimisation().model_dump()


def test_how_often_checkpoints_are_written_is_no_part_of_the_procedure() -> None:
    assert Settings(checkpoint_every=7).procedure() == Settings().procedure()
    assert Settings(epochs=6).procedure() != Settings().procedure()
