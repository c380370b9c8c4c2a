"""Networks by their name, their features and augmentation, their output, their weights on disk."""
