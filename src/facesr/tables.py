"""Names in the evaluation's tables: of methods, and of the sizes that they are measured at."""

BICUBIC = "bicubic"
STARTER = "starter"
"""The network that ships with the package."""
GENERATOR = "generator"
GAN = "GAN"
GAN_ENLARGED = "GAN + bicubic"
UPSAMPLED = "GAN + up-sampler"
"""The chain that is registered."""

INPUT = "low-res"
ORIGINAL = "original"

GENERATOR_SIZE = "generator size"
FULL_SIZE = "full size"
