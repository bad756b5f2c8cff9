"""Weights from a registered model's files into tensors."""
