"""Frames are resized as Pillow does it, and alike wherever they are resized."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nav_offrl.networks.encoder import ConvolutionalEncoder, EncoderConfig
from nav_offrl.networks.preprocess import PreprocessedEncoder, resize_frames

torch.set_num_threads(1)

SIZES = [
    ((120, 160), (64, 64)),
    ((97, 131), (33, 47)),
    ((240, 320), (64, 96)),
    ((40, 50), (64, 64)),
]


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, edges and saturated areas."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise[: height // 3] = 255
    cv2.circle(noise, (width // 2, height // 2), height // 3, (0, 0, 0), -1)
    return noise


@pytest.mark.parametrize(("camera", "size"), SIZES)
def test_resize_is_pillows_antialiased_bilinear(
    camera: tuple[int, int], size: tuple[int, int]
) -> None:
    frame = picture(*camera)
    ours = resize_frames(torch.from_numpy(frame[None]), *size)[0].numpy()
    pillow = Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR)
    assert ours.shape == (*size, 3)
    assert np.abs(ours - np.asarray(pillow, np.float32)).max() <= 1


@pytest.mark.parametrize(("camera", "size"), SIZES)
def test_a_frame_is_resized_alike_alone_and_in_a_batch(
    camera: tuple[int, int], size: tuple[int, int]
) -> None:
    frames = torch.from_numpy(np.stack([picture(*camera, seed) for seed in range(5)]))
    together = resize_frames(frames, *size)
    for index in range(5):
        assert torch.equal(resize_frames(frames[index : index + 1], *size)[0], together[index])


def test_result_is_whole_grey_levels_that_uint8_holds() -> None:
    resized = resize_frames(torch.from_numpy(picture(120, 160)[None]), 64, 64)
    assert resized.dtype == torch.float32
    assert torch.equal(resized.to(torch.uint8).float(), resized)


def test_frames_of_the_training_size_pass_through_unchanged() -> None:
    frame = torch.from_numpy(picture(64, 48)[None])
    assert torch.equal(resize_frames(frame, 64, 48), frame.float())


def test_resizing_twice_is_resizing_once() -> None:
    once = resize_frames(torch.from_numpy(picture(120, 160)[None]), 48, 64)
    assert torch.equal(resize_frames(once.to(torch.uint8), 48, 64), once)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 35)])
def test_what_the_robot_computes_is_what_training_saw(size: tuple[int, int]) -> None:
    """Camera frame through the graph = tier frame through the encoder, bit for bit."""
    torch.manual_seed(0)
    config = EncoderConfig(height=size[0], width=size[1], channels=(4, 8), latent_size=8)
    encoder = ConvolutionalEncoder(config)
    graph = PreprocessedEncoder(encoder, *size).eval()
    camera = torch.from_numpy(picture(96, 128)[None])
    tier = resize_frames(camera, *size).to(torch.uint8)
    assert torch.equal(graph(camera), encoder(tier))
    assert torch.equal(graph(tier), encoder(tier))
