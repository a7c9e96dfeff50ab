"""Data: sources of images, the long-tailed selection, the order in which training sees them, batches on the device."""
