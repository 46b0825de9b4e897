"""Pretrained weights: the layout of their folder, the hub, tensors in safetensors files."""
