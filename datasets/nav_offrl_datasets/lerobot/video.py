"""Frames of an MP4 file at given times, each encoded once as JPEG (quality 95)."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.readers.jpeg import Size, encode_jpeg

KEY_FRAMES = 2  # a frame is found by decoding two
QUALITY = 18  # constant rate factor of x264: hardly to be told from the original


@dataclass(frozen=True)
class VideoFrames:
    """T frames as JPEG, None where the video has none; `problem`: why it ended early, if it did."""

    jpegs: list[bytes | None]
    codec: str
    problem: str = ""


def read_frames(path: Path, seconds: NDArray[np.float64], size: Size, period: float) -> VideoFrames:
    """Return the frames nearest to `seconds` (T,), which increase, within half a `period` (s).

    Only the MP4 demuxer is used and only the file itself is opened: a playlist in disguise cannot
    lead to another file. `size` is (height, width); what the header declares is compared with it
    before anything is decoded.

    Raises:
        NavOffrlError: the file is no such video.
    """
    jpegs: list[bytes | None] = [None] * len(seconds)
    codec, problem = "", ""
    try:
        with av.open(str(path), format="mp4", options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("unknown codec")
            codec = stream.codec_context.codec.canonical_name
            _check_size(path, (stream.codec_context.height, stream.codec_context.width), size)
            # Codecs round sides up to their blocks, of 128 pixels at most.
            largest = (size[0] + 128) * (size[1] + 128)
            stream.codec_context.options = {"max_pixels": str(largest)}
            problem = _decode(container, stream, seconds, size, period, jpegs)
    except NavOffrlError:
        raise
    except FileNotFoundError as error:
        raise NavOffrlError("is missing", where=path, remedy="copy the whole data set") from error
    except (av.FFmpegError, OSError, ValueError, LookupError, ArithmeticError, TypeError) as error:
        raise NavOffrlError(
            f"cannot be read as MP4 video ({type(error).__name__}: {str(error)[:80]})",
            where=path,
            remedy="copy it again",
        ) from error
    return VideoFrames(jpegs, codec, problem)


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    seconds: NDArray[np.float64],
    size: Size,
    period: float,
    jpegs: list[bytes | None],
) -> str:
    """Fill `jpegs`; return why decoding ended before the last of them, "" where it did not."""
    time_base = stream.time_base
    if time_base is None or not time_base:
        raise ValueError("no time base")
    if seconds[0] > period:
        container.seek(max(0, int(seconds[0] / time_base) - 1), stream=stream)
    distance = np.full(len(seconds), 0.5 * period)
    try:
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            time = float(frame.pts * time_base)
            if time > seconds[-1] + 0.5 * period:
                break
            place = _nearest(seconds, time)
            if abs(time - seconds[place]) >= distance[place]:
                continue
            if (frame.height, frame.width) != size:
                return f"a frame is {frame.width}x{frame.height} pixels"
            distance[place] = abs(time - seconds[place])
            jpegs[place] = encode_jpeg(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, ValueError) as error:
        return f"decoding failed ({str(error)[:80]})"
    return ""


def _nearest(seconds: NDArray[np.float64], time: float) -> int:
    after = int(np.searchsorted(seconds, time))
    if after == len(seconds):
        return after - 1
    return after - 1 if after and time - seconds[after - 1] < seconds[after] - time else after


def _check_size(path: Path, found: Size, expected: Size) -> None:
    if found != expected:
        raise NavOffrlError(
            f"is a video of {found[1]}x{found[0]} pixels, meta/info.json says "
            f"{expected[1]}x{expected[0]}",
            where=path,
        )


class VideoWriter:
    """Writes frames as H.264 in MP4, a key frame every second frame as in LeRobot's own videos."""

    def __init__(self, path: Path, fps: float, size: Size) -> None:
        self.frames = 0
        self._path = path
        self._container = av.open(str(path), "w", format="mp4")
        rate = Fraction(fps).limit_denominator(10_000)
        options = {"g": str(KEY_FRAMES), "crf": str(QUALITY), "bf": "0"}
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.height, self._stream.width = size
        # Colour at half the resolution needs even sides.
        self._stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"

    @property
    def bytes(self) -> int:
        """How large the file is by now."""
        return self._path.stat().st_size

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame (H, W, 3) RGB."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = self.frames
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()


def video_info(path: Path, fps: float) -> dict[str, Any]:
    """Return what LeRobot's `meta/info.json` says of a video that `VideoWriter` made."""
    with av.open(str(path), format="mp4") as container:
        stream = container.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.fps": int(fps),
            "video.channels": 3,
            "has_audio": False,
            "video.g": KEY_FRAMES,
            "video.crf": QUALITY,
            "video.video_backend": "pyav",
            "is_depth_map": False,
        }
