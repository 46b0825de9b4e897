"""A file of data, looked at before anything is trained on it: what it is, what it holds, what spoils training."""
