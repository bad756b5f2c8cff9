"""Model architectures: one short file each, over shared layers."""
