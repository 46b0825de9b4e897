"""What the machine offers a model: its device, its threads, its memory."""
