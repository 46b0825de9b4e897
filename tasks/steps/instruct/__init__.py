"""The steps of the flow that teaches a GPT to follow instructions."""
