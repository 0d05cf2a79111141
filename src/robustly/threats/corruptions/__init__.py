"""Common corruptions as functions of images in [0, 1] and a severity; one kind of cause a file.

Hendrycks & Dietterich 2019, arXiv:1903.12261. Each takes float64 images (B, C, H, W), a severity from 1 to 5, and treats
every row apart. The constants are those of the authors' code: of ImageNet-C for larger images, and of CIFAR-10-C for
those whose shorter side has at most 64 pixels.
"""

from robustly.threats.corruptions.blur import defocus_blur, motion_blur, zoom_blur
from robustly.threats.corruptions.digital import jpeg, pixelate
from robustly.threats.corruptions.light import brightness, contrast, fog
from robustly.threats.corruptions.noise import gaussian_noise, impulse_noise, shot_noise

KINDS = {
    f.__name__: f
    for f in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        motion_blur,
        zoom_blur,
        fog,
        brightness,
        contrast,
        pixelate,
        jpeg,
    )
}
"""All by name. Of the paper's fifteen, frost (which needs photographs), snow, glass blur and elastic transform are left
out."""
