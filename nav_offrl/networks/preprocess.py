"""The one preprocessing of camera frames, shared by the training tier and the ONNX graph."""

from torch import Tensor, nn
from torch.nn import functional

PREPROCESSING = "antialiased bilinear resize, ties rounded up to uint8"
# Common camera sizes put many weighted sums exactly at half a grey level, where torch and ONNX
# Runtime, summing in another order, would round apart; this moves the sums off the edge.
TIE_BREAK = 1e-3


def resize_frames(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize (B, h, w, 3) uint8 to (B, height, width, 3) float in {0, …, 255}.

    Rounding to whole numbers makes the result equal to what the training tier stores as uint8.
    """
    images = frames.permute(0, 3, 1, 2).float()
    if tuple(frames.shape[1:3]) != (height, width):
        images = functional.interpolate(
            images, size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )
    return (images + TIE_BREAK).round().clamp(0, 255).permute(0, 2, 3, 1)


class PreprocessedEncoder(nn.Module):
    """Frames as the camera gives them -> latent: what the `encoder` graph of a bundle computes."""

    def __init__(self, encoder: nn.Module, height: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.height = height
        self.width = width

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, h, w, 3) uint8 RGB to the latent (B, D)."""
        latent: Tensor = self.encoder(resize_frames(image, self.height, self.width))
        return latent
