"""The steps, one a file; those of a single flow are in `classify` and `instruct`."""
