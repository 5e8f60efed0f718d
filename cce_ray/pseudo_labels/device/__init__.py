"""EM on the device of the predictions, by Triton or by torch's own operators."""
