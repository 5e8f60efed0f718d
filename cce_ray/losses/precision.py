"""The precision losses are computed in."""

import torch


def widened(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors in one common floating type of at least float32.

    Half types lose the differences that losses live on (bfloat16 near 1 steps by 2^-8), and an integer
    one-hot label is a valid distribution.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def floored_log(probs: torch.Tensor) -> torch.Tensor:
    """ln(max(probs, tiny)), tiny being the smallest normal number of the type: about -87 for float32 at zero.

    Above the floor value and gradient are exact; at and below it the gradient is zero instead of infinite.
    """
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
