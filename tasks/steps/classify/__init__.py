"""The steps of fine-tuning a classifier."""
