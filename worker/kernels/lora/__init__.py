"""What low-rank adapters add to a product, a different one for each row."""

from worker.kernels.device import by_device
from worker.kernels.lora import reference

__all__ = ["lora_shrink_expand"]

lora_shrink_expand = by_device(reference.lora_shrink_expand)
