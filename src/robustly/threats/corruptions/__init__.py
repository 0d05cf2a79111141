"""Common corruptions as functions of images in [0, 1] and a severity; one kind of cause a file.

Hendrycks & Dietterich 2019, arXiv:1903.12261. Each takes float64 images (B, C, H, W), a severity from 1 to 5, and treats
every row apart. The constants are those of the authors' code (github.com/hendrycks/robustness, create_c): of
make_imagenet_c.py for larger images, and of make_cifar_c.py for those whose shorter side has at most 64 pixels. What is
drawn at random there is the same here for all images of a shape, and the middle of its range where it is an angle.
"""

from robustly.threats.corruptions.blur import defocus_blur, motion_blur, zoom_blur
from robustly.threats.corruptions.digital import jpeg, pixelate
from robustly.threats.corruptions.elastic import elastic_transform
from robustly.threats.corruptions.glass import glass_blur
from robustly.threats.corruptions.light import brightness, contrast, fog
from robustly.threats.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from robustly.threats.corruptions.weather import frost, snow

KINDS = {
    f.__name__: f
    for f in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg,
    )
}
"""The paper's fifteen, by name; the ice of `frost` is made, not photographed."""
