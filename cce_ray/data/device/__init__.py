"""The way of a batch to the device, and its augmentation there."""
