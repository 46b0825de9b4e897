"""Training a GPT to follow instructions."""
