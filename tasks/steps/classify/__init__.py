"""The steps of the flow that fine-tunes a classifier."""
