"""What a run of the second use case comes to: its headline."""

from __future__ import annotations

from lib.markdown import plain
from tasks.record.instruct import headline
from tasks.record.track import Pages
from tasks.report.conclusion import Conclusion, Finished


def instruct_conclusion(finished: Finished, pages: Pages) -> Conclusion:
    """Returns what a run that taught a GPT to follow instructions comes to."""
    sentence = headline(finished.recipe, pages.metrics)
    return Conclusion(sentences=(f"{sentence}.",), card=plain(f"{sentence}."), phrase=sentence)
