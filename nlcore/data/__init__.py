"""What is trained on: data sets as tensors in memory or in a memory map. It knows no noise and no training."""
