"""One step a file; those of both flows are here, those of one in `classify` and `instruct`."""
