"""The machine's device, threads and memory."""
