"""The encoder fits any frame size and does not mix the frames of a batch."""

import pytest
import torch

from nav_offrl.networks.encoder import ConvolutionalEncoder, EncoderConfig

torch.set_num_threads(1)


def frames(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [(32, 32), (33, 64), (47, 35), (64, 41)])
@pytest.mark.parametrize("channels", [(4,), (4, 6, 8), (4, 4, 4, 4, 4)])
def test_every_size_gives_a_latent_of_the_named_size(
    size: tuple[int, int], channels: tuple[int, ...]
) -> None:
    config = EncoderConfig(height=size[0], width=size[1], channels=channels, latent_size=7)
    latent = ConvolutionalEncoder(config)(frames(3, *size))
    assert latent.shape == (3, 7) and latent.dtype == torch.float32
    assert torch.isfinite(latent).all()


def test_in_evaluation_a_frame_does_not_see_its_batch() -> None:
    torch.manual_seed(0)
    config = EncoderConfig(height=33, width=40, channels=(4, 8), latent_size=8)
    encoder = ConvolutionalEncoder(config)
    encoder(frames(16, 33, 40))  # moves the running statistics
    encoder.eval()
    batch = frames(4, 33, 40)
    alone = torch.cat([encoder(batch[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(encoder(batch), alone, rtol=1e-5, atol=1e-5)


def test_uint8_and_float_frames_encode_alike_and_every_channel_counts() -> None:
    torch.manual_seed(0)
    encoder = ConvolutionalEncoder(EncoderConfig(height=32, width=32, channels=(4, 8))).eval()
    frame = frames(1, 32, 32)
    latent = encoder(frame)
    assert torch.equal(latent, encoder(frame.float()))
    for channel in range(3):
        changed = frame.clone()
        changed[..., channel] = 255 - changed[..., channel]
        assert not torch.allclose(latent, encoder(changed))


def test_left_and_right_are_told_apart() -> None:
    torch.manual_seed(0)
    encoder = ConvolutionalEncoder(EncoderConfig(height=32, width=32, channels=(4, 8))).eval()
    frame = frames(1, 32, 32)
    assert not torch.allclose(encoder(frame), encoder(frame.flip(2)), atol=1e-3)
