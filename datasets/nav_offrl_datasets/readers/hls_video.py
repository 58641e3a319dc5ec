"""Frames of a video that lies as an HLS playlist and its MPEG-TS segments in one folder.

The playlist is read here and the segments are opened one by one: FFmpeg's own HLS reader would
follow whatever address a playlist names.
"""

from collections.abc import Iterator
from pathlib import Path

import av

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.readers.jpeg import encode_jpeg

MAX_PLAYLIST = 4 << 20  # bytes
MAX_PIXELS = 16_000_000  # of one frame; the codec's header is not believed beyond it


def segments_of(playlist: Path) -> list[Path]:
    """Return the segments beside a playlist, in the order in which it names them (RFC 8216).

    Raises:
        NavOffrlError: it is no playlist, or too long for one.
    """
    try:
        if playlist.stat().st_size > MAX_PLAYLIST:
            raise NavOffrlError("is too long for a playlist", where=playlist)
        lines = playlist.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NavOffrlError(f"cannot be read as a playlist ({error})", where=playlist) from error
    if not lines or lines[0].strip() != "#EXTM3U":
        raise NavOffrlError("is no HLS playlist", where=playlist, remedy="copy it again")
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    # Only what lies in the folder itself is read, whatever address a line holds.
    return [playlist.parent / Path(name).name for name in names if Path(name).name]


def frames(segments: list[Path]) -> Iterator["av.VideoFrame"]:
    """Yield the frames of all segments in order.

    Raises:
        NavOffrlError: a segment is missing or damaged; the frames before it have been yielded.
    """
    for segment in segments:
        if not segment.is_file():
            raise NavOffrlError("segment is missing", where=segment, remedy="copy the ride again")
        try:
            yield from _frames_of(segment)
        except (av.FFmpegError, OSError, ValueError, LookupError, TypeError) as error:
            raise NavOffrlError(
                f"segment cannot be decoded ({type(error).__name__}: {str(error)[:80]})",
                where=segment,
                remedy="copy the ride again",
            ) from error


def _frames_of(segment: Path) -> Iterator["av.VideoFrame"]:
    options = {"protocol_whitelist": "file"}
    with av.open(str(segment), format="mpegts", options=options) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield from container.decode(stream)


def jpeg_of(frame: "av.VideoFrame") -> bytes:
    """Return a decoded frame as a JPEG of quality 95."""
    return encode_jpeg(frame.to_ndarray(format="rgb24"))
