"""This project's own GPT-2: the network, its weights, its text generation."""
