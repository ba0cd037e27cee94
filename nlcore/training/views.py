"""Random views of a batch, as tensor functions on the device: no Python per sample, every draw from a generator.

`weak_views` is the crop and flip of the CIFAR literature; strong views are in `nlcore.training.randaugment`. A vector
has no neighbourhood to move in: its views lose some features, and noise is added to the others.
"""

import torch
import torch.nn.functional as F

# Share of the features that a view of a vector loses, and standard deviation of the noise on the others: our choice.
WEAK_VECTOR, STRONG_VECTOR = (0.1, 0.0), (0.3, 0.3)


def weak_views(images: torch.Tensor, pad: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Random crops after zero padding by `pad` pixels, mirrored with probability 1/2 if `flip`.

    images (B, C, H, W) of any dtype -> the same shape and dtype.
    """
    n, _, height, width = images.shape
    device = images.device
    if pad:
        # A view of every possible crop costs no memory; indexing it copies just the chosen ones.
        crops = F.pad(images, (pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = torch.randint(0, 2 * pad + 1, (2, n), generator=generator, device=device)
        images = crops[torch.arange(n, device=device), :, top, left]
    if flip:
        mirrored = torch.rand(n, generator=generator, device=device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def normalise(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """uint8 (B, C, H, W) -> float32 with the training set's mean 0 and standard deviation 1 per channel.

    Vectors (B, d) -> float32 with those of the training set in every column.
    """
    if images.ndim == 2:
        return torch.addcmul(-mean / std, images.float(), 1 / std)
    scale = (1 / (255 * std)).view(1, -1, 1, 1)
    return images.float() * scale - (mean / std).view(1, -1, 1, 1)


def vector_views(vectors: torch.Tensor, dropout: float, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Standardised vectors (B, d) with Gaussian noise of a standard deviation; each feature is dropped, which means set
    to its mean of 0, with a probability, in steps of 1/256. The others are not scaled up: the network is tested on
    whole vectors, and its average weights see those of the same scale."""
    if noise:
        drawn = torch.randn(vectors.shape, generator=generator, device=vectors.device)
        vectors = drawn.mul_(noise).add_(vectors)
    # One byte of chance a feature: drawn eight at a time, they cost an eighth of as many floats.
    eights = torch.empty(-(-vectors.numel() // 8), dtype=torch.int64, device=vectors.device)
    chance = eights.random_(-(2**63), None, generator=generator).view(torch.uint8)[: vectors.numel()]
    # Compared into floats and multiplied: on a CPU a tenth of the time of filling where a mask is true.
    kept = torch.ge(chance.view(vectors.shape), round(256 * dropout), out=torch.empty_like(vectors))
    return kept.mul_(vectors)
