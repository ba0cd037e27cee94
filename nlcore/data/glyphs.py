"""Letters that are hard by construction: small grey images, each with its true hardness, drawn from a seed.

Ten letters in the text fonts that matplotlib brings, in the manner of notMNIST. The harder an image is meant to be, the
further its letter is turned, sheared, scaled and shifted, the clearer the ghost of a letter of ANOTHER class shines
through, and the noisier are the pixels. So it is known which samples are hard, and between which two classes each of
them lies: what methods for instance-dependent noise assume, and what no photograph tells.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from nlcore.basics.chance import stream
from nlcore.basics.errors import InputError

LETTERS = tuple("ABCDEFGHJK")  # without I, a bare stroke in half of the fonts
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
# Kept for the test set of `load_glyphs`: one of every family, upright and slanted, light and bold.
UNSEEN_FONTS = (
    "DejaVuSans-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "cmss10",
    "cmti10",
)
TRAIN_SIZE, TEST_SIZE = 2500, 1000
TRAIN_SEED, TEST_SEED = 0, 1

SIZE = 16  # side of an image
CANVAS = 3 * SIZE  # letters are drawn and moved three times as large: a pixel is the mean of nine
FONT_SIZE = 42  # the widest letter nearly fills the canvas
AT_ONCE = 500  # images that are moved at the same time: 20 MB

# What an image of hardness 1 is given at most; one of hardness 0 is moved by 0.3 of it, and has no ghost.
ANGLE, SHEAR, SCALE, SHIFT = math.radians(20), 0.2, 0.15, 0.15  # shift in half widths of the image
GHOST = 0.8
NOISE = (0.04, 0.06)  # standard deviation of the pixels: at hardness 0, and what hardness 1 adds


@dataclass(frozen=True)
class Glyphs:
    """Letters and the truth about them.

    Attributes
    ----------
    images : (N, 1, 16, 16) uint8.
    labels : (N,) int64, places in `LETTERS`.
    hardness : (N,) float32 in [0, 1].
    ghost : (N,) int64, the class of the second letter that shines through; never the label.
    font : (N,) int64, places in `FONTS`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    hardness: torch.Tensor
    ghost: torch.Tensor
    font: torch.Tensor


def load_glyphs() -> tuple[Glyphs, Glyphs]:
    """The 2,500 training and 1,000 test images of `load_dataset("glyphs")`, in its order, with the truth about each.

    Six of the 22 fonts occur in the test set only; hardness does not know that they are unseen. The truth about the
    images of a subset is that of its `train_index`.
    """
    seen = tuple(font for font in FONTS if font not in UNSEEN_FONTS)
    return draw_glyphs(TRAIN_SIZE, TRAIN_SEED, seen), draw_glyphs(TEST_SIZE, TEST_SEED)


def draw_glyphs(n: int, seed: int, fonts: tuple[str, ...] = FONTS) -> Glyphs:
    """Draw `n` letters, as many of every class, in random order; the global random state is neither read nor written.

    Raises
    ------
    InputError : no letter or no font to draw, or a font that matplotlib does not bring.
    """
    if n < 1 or not fonts:
        raise InputError(f"glyphs: {n} letters in {len(fonts)} fonts cannot be drawn; ask for at least one of each")
    generator = torch.Generator().manual_seed(stream(seed, "glyphs"))

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    labels = (torch.arange(n) % len(LETTERS))[torch.randperm(n, generator=generator)]
    ghost = (labels + torch.randint(1, len(LETTERS), (n,), generator=generator)) % len(LETTERS)
    font, ghost_font = torch.randint(len(fonts), (2, n), generator=generator)
    # Nearly Beta(1.2, 1.6): Kumaraswamy's distribution, whose quantiles have a closed form.
    hardness = (1 - (1 - uniform(0, 1)) ** (1 / 1.6)) ** (1 / 1.2)

    masks = letter_masks(fonts)
    letters, ghosts = (
        moved(masks, which, poses(uniform(-1, 1, 5) * (0.3 + 0.7 * hardness[:, None])))
        for which in ((font, labels), (ghost_font, ghost))
    )
    images = composed(
        letters,
        ghosts,
        hardness,
        contrast=uniform(0.6, 1),
        background=uniform(0, 0.25),
        inverted=uniform(0, 1) < 0.5,
        noise=torch.randn(n, SIZE, SIZE, generator=generator),
    )
    places = torch.tensor([FONTS.index(name) for name in fonts])
    return Glyphs(images[:, None], labels, hardness, ghost, places[font])


def letter_masks(fonts: tuple[str, ...] = FONTS) -> torch.Tensor:
    """How much of each pixel a letter covers, (fonts, letters, 48, 48) float32 in [0, 1]; letters lie in the middle.

    Raises
    ------
    InputError : a font that matplotlib does not bring.
    """
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    masks = torch.zeros(len(fonts), len(LETTERS), CANVAS, CANVAS)
    for row, name in enumerate(fonts):
        path = folder / f"{name}.ttf"
        if name not in FONTS or not path.is_file():
            raise InputError(f"glyphs: there is no font {name!r} in {folder}; choose of: {', '.join(FONTS)}")
        font = ImageFont.truetype(str(path), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
        for column, letter in enumerate(LETTERS):
            page, canvas = Image.new("L", (2 * CANVAS, 2 * CANVAS)), Image.new("L", (CANVAS, CANVAS))
            ImageDraw.Draw(page).text((CANVAS, CANVAS), letter, fill=255, font=font, anchor="mm")
            ink = page.crop(page.getbbox())
            canvas.paste(ink, ((CANVAS - ink.width) // 2, (CANVAS - ink.height) // 2))
            pixels = torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8)
            masks[row, column] = pixels.view(CANVAS, CANVAS) / 255
    return masks


def poses(strength: torch.Tensor) -> torch.Tensor:
    """Matrices of `affine_grid`, (N, 2, 3), of a rotation, shear, scale and shifts (N, 5), each in [-1, 1]."""
    angle, shear, scale, right, down = (strength * torch.tensor([ANGLE, SHEAR, SCALE, SHIFT, SHIFT])).unbind(1)
    cos, sin, scale = angle.cos(), angle.sin(), (1 + scale)
    rows = (cos, cos * shear - sin, right), (sin, sin * shear + cos, down)
    return torch.stack([torch.stack([x / scale, y / scale, shift], 1) for x, y, shift in rows], 1)


def moved(masks: torch.Tensor, which: tuple[torch.Tensor, torch.Tensor], matrices: torch.Tensor) -> torch.Tensor:
    """The masks of the fonts and letters `which`, two (N,), moved and shrunk: (N, 16, 16) float32 in [0, 1]."""
    parts = []
    for font, letter, matrix in zip(*(part.split(AT_ONCE) for part in (*which, matrices)), strict=True):
        grid = F.affine_grid(matrix, [len(matrix), 1, CANVAS, CANVAS], align_corners=False)
        large = F.grid_sample(masks[font, letter][:, None], grid, align_corners=False)
        parts.append(F.avg_pool2d(large, CANVAS // SIZE).squeeze(1))
    return torch.cat(parts)


def composed(
    letters: torch.Tensor,
    ghosts: torch.Tensor,
    hardness: torch.Tensor,
    contrast: torch.Tensor,
    background: torch.Tensor,
    inverted: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Grey values of letters and their ghosts: masks and standard normal noise (N, 16, 16), the rest (N,) -> uint8.

    A ghost is seen where it is darker than the letter; `contrast` is the share of the way from background to full ink.
    """
    hardness, contrast, background, inverted = (
        value[:, None, None] for value in (hardness, contrast, background, inverted)
    )
    ink = torch.maximum(letters, GHOST * hardness * ghosts)
    grey = background + contrast * (1 - background) * ink
    grey = torch.where(inverted, 1 - grey, grey) + (NOISE[0] + NOISE[1] * hardness) * noise
    return (255 * grey.clamp(0, 1)).round().to(torch.uint8)
