"""Names in the evaluation's tables: of methods, sizes and metrics."""

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

LABELS = {
    "psnr": "PSNR, dB ↑",
    "psnr_y": "PSNR Y, dB ↑",
    "ssim": "SSIM ↑",
    "ms_ssim": "MS-SSIM ↑",
    "gmsd": "GMSD ↓",
    "mse": "MSE ↓",
    "l1_mean": "L1 mean ↓",
    "l1_sum": "L1 sum ↓",
    "clipped_fraction": "clipped →0",
    "luma_shift": "luma shift →0",
    "gradient_energy_ratio": "gradient energy →1",
}
