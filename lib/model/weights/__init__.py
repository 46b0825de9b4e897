"""Pretrained weights: folder layout, hub, safetensors files."""
