"""The page of a store: what it shows, that it refers to nothing, that no name breaks out of it."""

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode, Store
from nav_offrl.store.schema import field_info
from nav_offrl_datasets.importing.report import ImportReport, RunReport
from nav_offrl_datasets.inspection.html_report import (
    MAX_EPISODES,
    SHEET_FRAMES,
    STRIP_FRAMES,
    write_html,
)
from nav_offrl_datasets.inspection.summary import StoreSummary, summarise

MakeEpisode = Callable[..., Episode]
WriteStore = Callable[..., Store]
VOID = ("meta", "img", "br")


class Page(HTMLParser):
    """Reads a page and holds every tag against its end."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)

    def images(self) -> dict[str, Any]:
        """Return what each picture's description shows, decoded."""
        shown = {}
        for tag, attributes in self.tags:
            if tag == "img":
                kind, _, content = (attributes["src"] or "").partition(";base64,")
                assert kind in ("data:image/png", "data:image/jpeg")
                buffer = np.frombuffer(base64.b64decode(content), np.uint8)
                shown[str(attributes["alt"])] = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
        return shown


def page_of(store: Store, path: Path, faults: tuple[str, ...] = ()) -> tuple[Page, str]:
    write_html(store, summarise(store), faults, path)
    text = path.read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture
def rich_store(tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore) -> Store:
    into = np.zeros(40, bool)
    into[30] = True
    changes = {"velocity": np.tile([0.5, 0.2], (40, 1)), "collision": into}
    episodes = [
        drive_straight("monday 1", 40, changes, robot="husky", licence="BSD"),
        drive_straight("monday 2", 40, changes, complete=False),
        drive_straight("tuesday", 40, changes | {"collision": ~into}, split="held_out"),
    ]
    return write_store(tmp_path / "drives.zarr", episodes, notes="from a test")


def test_page_shows_everything(rich_store: Store, tmp_path: Path) -> None:
    page, _ = page_of(rich_store, tmp_path / "drives.html", faults=("array 'x' is damaged",))
    for words in (
        "drives.zarr",
        "array 'x' is damaged",
        "1 unfinished episodes (cut short): 'monday 2'",
        "constant",
        "10 Hz stated; measured 10 Hz",
        "husky (1), not said (2)",
        "from a test",
        "velocity omega",
        "rad/s",
        "bumpiness",  # among the missing
        "monday 1",
        "tuesday",
        "longest episode of held_out: 'tuesday', 40 steps",
        "up to a collision: 'monday 1', 40 steps",
    ):
        assert words in page.text, words
    # Three episodes began or ran into 1 + 1 + 2 collisions over 3 * 39 * 0.05 m.
    assert f"4 (41 steps, {4 / (3 * 39 * 0.05e-3):.3g} per km)" in page.text.replace("\n", "")
    images = page.images()
    for drawing in ("paths", "action histograms", "speed over time"):
        height, width = images[drawing].shape[:2]
        assert width >= 1200 and height >= 300 and images[drawing].std() > 5
    frames = [name for name in images if name.startswith("step ")]
    sheet = [name for name in frames if ": " in name]
    assert len(sheet) == SHEET_FRAMES and "step 2: monday 1, 2" in sheet
    assert len(frames) >= SHEET_FRAMES + 2 * STRIP_FRAMES
    stored = rich_store.image("front", 2)[:, :, ::-1]
    assert np.abs(images["step 2: monday 1, 2"].astype(int) - stored).mean() < 12  # JPEG again


def test_page_refers_to_nothing_outside(rich_store: Store, tmp_path: Path) -> None:
    page, text = page_of(rich_store, tmp_path / "drives.html")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base", "a"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("href", "srcset", "action")
            assert name != "src" or str(value).startswith("data:image/")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None and "url(" not in style[1] and "@import" not in style[1]
    assert "default-src 'none'" in text


HOSTILE = "<script>alert(1)</script>"
BREAKING_OUT = "\"'></td><img src=x onerror=alert(2)>&lt;"


def test_hostile_names_stay_text(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    names = {
        "session": BREAKING_OUT,
        "source": HOSTILE,
        "licence": "$\\frac{",
        "robot": "a\x1b[31m",
    }
    frames = drive_straight("a").images["front"]
    fields = {
        "time": field_info("time"),
        "action": field_info(
            "action", unit=BREAKING_OUT, axes=(HOSTILE, "$\\frac{"), source=HOSTILE
        ),
    }
    store = write_store(
        tmp_path / "<i>.zarr",
        [
            drive_straight(
                HOSTILE, 11, {"position": None, "yaw": None}, images={HOSTILE: frames}, **names
            ),
        ],
        fields=fields,
        notes=BREAKING_OUT + "\u202e",
    )
    reports = store.path / "reports"
    reports.mkdir()
    run = RunReport(name=HOSTILE, dropped={BREAKING_OUT: 3}, details=(HOSTILE,), facts=(HOSTILE,))
    report = ImportReport(source=HOSTILE, runs=(run,), notes=(HOSTILE,), unknown_files=(HOSTILE,))
    (reports / "<i>.json").write_text(report.model_dump_json(), encoding="utf-8")
    page, text = page_of(store, tmp_path / "hostile.html", faults=(HOSTILE, BREAKING_OUT))
    assert not {tag for tag, _ in page.tags} & {"script", "i"}
    assert [a for tag, a in page.tags if tag == "img" and "onerror" in a] == []
    assert page.text.count(HOSTILE) >= 8 and BREAKING_OUT in page.text
    assert "\x1b" not in text and "\u202e" not in text and "a\ufffd[31m" in page.text


def test_import_reports_say_what_was_kept_and_dropped(rich_store: Store, tmp_path: Path) -> None:
    reports = rich_store.path / "reports"
    reports.mkdir()
    runs = (
        RunReport(name="run_1", kept=40, episodes=1, split="train"),
        RunReport(name="run_2", kept=3, episodes=2, dropped={"image without a pose": 7}),
        RunReport(name="run_3", refused="the pickle names os.system"),
    )
    report = ImportReport(
        source="logs/", runs=runs, notes=("rate is nominal",), unknown_files=("x.doc",)
    )
    (reports / "1.json").write_text(report.model_dump_json(), encoding="utf-8")
    (reports / "2.json").write_text("{", encoding="utf-8")
    (reports / "3.json").write_text('{"source": 1}', encoding="utf-8")
    page, _ = page_of(rich_store, tmp_path / "drives.html")
    for words in (
        "Import of logs/",
        "43 steps kept of 3 runs",
        "run_2: 7 dropped, image without a pose",
        "7 image without a pose",
        "run_3: refused, the pickle names os.system",
        "x.doc: not understood, ignored",
        "rate is nominal",
        "Import 2",
        "Expecting property name",
        "3.json: field",
    ):
        assert words in page.text, words


def test_many_episodes_make_no_large_page(
    tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    drives = [drive_straight(f"episode {row:05}", 3) for row in range(1500)]
    store = write_store(tmp_path / "many.zarr", drives)
    path = tmp_path / "many.html"
    page, _ = page_of(store, path)
    assert f"... and {1500 - MAX_EPISODES:,} more episodes." in page.text
    assert path.stat().st_size < 1_500_000
    assert sum(tag == "img" for tag, _ in page.tags) <= 3 + SHEET_FRAMES + STRIP_FRAMES


@pytest.mark.parametrize("kept", ["camera", "observation"])
def test_what_a_store_lacks_is_left_out(
    kept: str, tmp_path: Path, drive_straight: MakeEpisode, write_store: WriteStore
) -> None:
    changes: dict[str, Any] = dict.fromkeys(("position", "yaw", "action"))
    fields = {"time": field_info("time")}
    images = {"front": drive_straight("a").images["front"]}
    if kept == "observation":
        changes["observation"], images = np.arange(44.0).reshape(11, 4), {}
        fields["observation"] = field_info("observation", shape=(4,))
    episode = drive_straight("a", 11, changes, images=images)
    store = write_store(tmp_path / "s.zarr", [episode], fields=fields)
    page, _ = page_of(store, tmp_path / "s.html")
    assert not {"paths", "action histograms", "speed over time"} & set(page.images())
    assert "unknown" in page.text and "not recorded" in page.text
    assert ("Camera 'front'" in page.text) == (kept == "camera")
    assert ("observation 3" in page.text) == (kept == "observation")


def test_damaged_frame_is_said_to_be_one(rich_store: Store, tmp_path: Path) -> None:
    chunk = rich_store.path / "data/image/front/jpeg/c/0"
    content = chunk.read_bytes()
    first = len(rich_store.jpegs("front", slice(0, 3))[2])
    begin = len(b"".join(rich_store.jpegs("front", slice(0, 2))))
    chunk.write_bytes(content[:begin] + b"\0" * first + content[begin + first :])
    page, _ = page_of(Store.open(rich_store.path), tmp_path / "drives.html")
    assert page.text.count("cannot be decoded") == 2  # on the sheet and in the longest episode
    assert len([name for name in page.images() if ": " in name]) == SHEET_FRAMES - 1


def test_page_is_written_whole_or_not_at_all(rich_store: Store, tmp_path: Path) -> None:
    summary: StoreSummary = summarise(rich_store)
    (rich_store.path / "data/velocity/c/0/0").write_bytes(b"short")
    with pytest.raises(NavOffrlError, match="velocity"):
        write_html(Store.open(rich_store.path), summary, (), tmp_path / "drives.html")
    assert [path.name for path in tmp_path.iterdir()] == ["drives.zarr"]
