"""The steps of teaching a GPT to follow instructions."""
