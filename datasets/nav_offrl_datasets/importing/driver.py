"""Importing a log of any format into a store: in parallel, resumable, nothing twice."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Episode, Store, StoreInfo, StoreWriter
from nav_offrl_datasets import formats
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.importing.hold_out import HoldOut
from nav_offrl_datasets.importing.journal import Journal
from nav_offrl_datasets.importing.plan import NOT_OF_THE_STORE, Plan, make_plan
from nav_offrl_datasets.importing.reading import ReadSource, read_source, refused
from nav_offrl_datasets.importing.report import ImportReport, RunReport
from nav_offrl_datasets.importing.run import Source
from nav_offrl_datasets.importing.workers import Death, ordered_map

MUCH_SIDEWAYS = 0.02  # of the distance
SHOWN_WARNINGS = 5


def import_log(
    path: str | Path,
    output: str | Path,
    config: ImportConfig,
    format: str = "auto",
    progress: bool = True,
) -> ImportReport:
    """Read the log at `path` into a store at `output`: a new one, or one that is there already.

    A source whose very content is in the store is skipped, so that importing twice adds nothing.
    Each source is one transaction; an interrupted import goes on when called again. With
    `config.strict` all is read and judged before anything is written. The report is saved in the
    store as `reports/import_<n>.json`, unless nothing was added.

    Reads in `config.workers` processes (0: one a core) that start afresh: a script that calls this
    needs the guard `if __name__ == "__main__":`, or one worker.

    Raises:
        NavOffrlError: no log that can be read, or nothing of it can be used; it does not fit the
            store at `output`; or, with `config.strict`, anything had to be dropped.
    """
    path, output = Path(path), Path(output)
    try:
        importer = formats.recognise(path) if format == "auto" else formats.named(format)
        sources, unknown = importer.sources(path, config)
        layout = importer.layout(sources, config)
    except OSError as error:
        where = error.filename or path
        raise NavOffrlError(f"cannot be read ({error.strerror or error})", where=where) from error
    plan = make_plan(importer.FORMAT, path.resolve().name, layout, config)
    existing = Store.open(output) if output.exists() else None
    if existing is not None:
        check_fits(plan.info, existing.info, output)
    task = _Import(plan, sources, tuple(unknown), progress)
    if config.strict:
        task.judge(set(existing.episodes.source_hash) if existing is not None else set())
    create = StoreWriter.append_to(output) if existing else StoreWriter.create(output, plan.info)
    with create as writer:
        return task.write(writer, is_new=existing is None)


@dataclass(frozen=True)
class _Import:
    plan: Plan
    sources: Sequence[Source]
    unknown: tuple[str, ...]
    progress: bool

    def judge(self, known: set[str]) -> None:
        """Read everything and write nothing.

        Raises:
            NavOffrlError: there is anything to warn of.
        """
        rows = [row for result in self._read(known, judge_only=True) for row in result.reports]
        warnings = self._report(rows, []).warnings
        if warnings:
            count = f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
            raise self._refusal(f"{count}, and strict is set", warnings)

    def write(self, writer: StoreWriter, is_new: bool) -> ImportReport:
        """Read everything that is not in the store yet, and commit it source by source."""
        journal = Journal(writer.path)
        hold_out = self._hold_out(writer, journal, is_new)
        rows: list[RunReport] = []
        for result in self._read(writer.source_hashes, judge_only=False):
            rows += _commit(result, writer, journal, hold_out)
        # What an interrupted import of another log brought in has been in no report yet.
        for digest, left in journal.interrupted.items():
            rows += left if digest in writer.source_hashes else []
        for session, split in hold_out.corrections().items():
            writer.move_session(session, split)
            rows = [
                row.model_copy(update={"split": split}) if row.session == session else row
                for row in rows
            ]
        report = self._report(rows, self._notes(rows, writer))
        if not report.kept and not any(row.in_store for row in rows):
            if not writer.names:
                writer.discard()
            raise self._refusal("no run could be used", report.warnings)
        if report.kept:
            journal.finish(report)
        writer.finish()
        return report

    def _hold_out(self, writer: StoreWriter, journal: Journal, is_new: bool) -> HoldOut:
        splits = writer.splits
        if not is_new:
            return HoldOut(self.plan.config, splits, {})
        said = {
            row.session for rows in journal.interrupted.values() for row in rows if row.split_by_log
        }
        fixed = {session: split for session, split in splits.items() if session in said}
        return HoldOut(self.plan.config, fixed, {s: splits[s] for s in splits if s not in said})

    def _read(self, known: Iterable[str], judge_only: bool) -> Iterator[ReadSource]:
        read = partial(read_source, plan=self.plan, known=frozenset(known), judge_only=judge_only)
        workers = self.plan.config.workers or len(os.sched_getaffinity(0))
        results = ordered_map(read, self.sources, workers)
        bar = tqdm(
            total=len(self.sources),
            desc="judging" if judge_only else "importing",
            unit="source",
            disable=not self.progress,
        )
        with closing(results), bar:
            for source, result in zip(self.sources, results, strict=True):
                if isinstance(result, Death):
                    result = refused(
                        ReadSource(source.name), f"the process reading it {result.how}"
                    )
                yield result
                bar.update()

    def _report(self, rows: Sequence[RunReport], notes: Sequence[str]) -> ImportReport:
        settings = self.plan.config.model_dump(
            mode="json", exclude=NOT_OF_THE_STORE, exclude_defaults=True
        )
        return ImportReport(
            source=self.plan.log,
            format=self.plan.format,
            settings=settings,
            runs=tuple(rows),
            unknown_files=self.unknown,
            notes=tuple(notes),
        )

    def _refusal(self, reason: str, warnings: Sequence[str]) -> NavOffrlError:
        strict = self.plan.config.strict and warnings
        return NavOffrlError(
            f"{reason}: {'; '.join(warnings[:SHOWN_WARNINGS])}",
            where=self.plan.log,
            remedy="mend or remove these, or import without --strict" if strict else None,
        )

    def _notes(self, rows: Sequence[RunReport], writer: StoreWriter) -> list[str]:
        info, notes = self.plan.info, list(self.plan.layout.notes)
        if info.rate_is_nominal:
            notes.append(
                f"time is nominal: the log has no timestamps, {info.rate_hz:g} Hz was assumed; "
                "speeds scale with it"
            )
        if info.action_source == "derived from pose":
            notes.append("actions are derived from poses: what the robot did, not what it was told")
        notes += self._label_notes()
        distance = sum(row.distance for row in rows)
        lateral = sum(row.lateral_distance for row in rows)
        if distance and lateral / distance > MUCH_SIDEWAYS:
            notes.append(
                f"{lateral:.1f} m of {distance:.1f} m are sideways motion, which (v, omega) "
                "actions cannot express"
            )
        if "held_out" not in writer.splits.values():
            notes.append(
                "no run is held out: a model of this store cannot be judged on unseen runs"
            )
        known = sum(row.in_store for row in rows)
        if known:
            notes.append(f"{known} of {len(self.sources)} sources were in the store already")
        return notes

    def _label_notes(self) -> list[str]:
        if self.plan.config.labels is None:
            return []
        has = {"collision", "bumpiness"} & set(self.plan.info.fields)
        own = sorted(has & set(self.plan.layout.fields))
        notes = [f"'{name}' is what the log says, it is not labelled" for name in own]
        if not has:
            notes.append(
                "nothing is labelled: the log has no lidar, no IMU and no commands in m/s, or what "
                "is made of them is left out or switched off"
            )
        return notes


def _commit(
    result: ReadSource, writer: StoreWriter, journal: Journal, hold_out: HoldOut
) -> list[RunReport]:
    """Write the episodes of one source in one transaction; return its rows of the report."""
    if result.digest in writer.source_hashes:
        known = RunReport(name=result.name, in_store=True)
        return journal.interrupted.pop(result.digest, [known])
    journal.interrupted.pop(result.digest, None)  # noted, but not committed
    episodes: list[Episode] = []
    rows = []
    for made, report in result.runs:
        taken = writer.names | {episode.name for episode in episodes}
        made, report = _with_free_names(made, report, taken)
        if made:
            split = hold_out.split_of(report.session, report.split)
            made = [replace(episode, split=split) for episode in made]
            report = report.model_copy(update={"split": split})
        episodes += made
        rows.append(report)
    if episodes:
        journal.add(result.digest, rows)
        writer.append_all(episodes)
    return rows


def _with_free_names(
    episodes: list[Episode], report: RunReport, taken: set[str]
) -> tuple[list[Episode], RunReport]:
    """Give the episodes of a run another name where the store has one of that name already."""
    run, number = report.name, 1
    while True:
        name = run if number == 1 else f"{run}#{number}"
        names = [name + episode.name[len(run) :] for episode in episodes]
        if not taken.intersection(names):
            break
        number += 1
    if number == 1:
        return episodes, report
    session = name if report.session == run else report.session
    renamed = [
        replace(episode, name=new, session=session)
        for episode, new in zip(episodes, names, strict=True)
    ]
    fact = f"another run called '{run}' is in the store"
    changes = {"name": name, "session": session, "facts": (*report.facts, fact)}
    return renamed, report.model_copy(update=changes)


def check_fits(new: StoreInfo, old: StoreInfo, output: Path) -> None:
    """Raise NavOffrlError when what a log gives cannot go into the store at `output`."""
    differing = [
        f"{name} is {getattr(new, name)!r}, the store's is {getattr(old, name)!r}"
        for name in ("rate_hz", "rate_is_nominal", "action_source", "frame")
        if getattr(new, name) != getattr(old, name)
    ]
    differing += _differing("field", new.fields, old.fields, ("shape", "unit", "axes"))
    differing += _differing("camera", new.cameras, old.cameras, ("height", "width", "coding"))
    if not differing:
        return
    surplus = [
        name
        for name in (*new.fields, *new.cameras)
        if name not in old.fields and name not in old.cameras
    ]
    remedy = "import it into a store of its own"
    if new.rate_hz != old.rate_hz:
        remedy = f"--rate-hz {old.rate_hz:g}, or " + remedy
    elif surplus:
        remedy = f"--without {' '.join(surplus)}, or " + remedy
    raise NavOffrlError(
        f"the log does not fit this store: {'; '.join(differing)}", where=output, remedy=remedy
    )


def _differing(
    what: str, new: Mapping[str, Config], old: Mapping[str, Config], must_agree: Sequence[str]
) -> list[str]:
    lines = [f"the log has no {what} '{name}'" for name in old if name not in new]
    lines += [f"the store has no {what} '{name}'" for name in new if name not in old]
    for name in set(new) & set(old):
        for key in must_agree:
            values = getattr(new[name], key), getattr(old[name], key)
            if values[0] != values[1]:
                lines.append(
                    f"{key} of {what} '{name}' is {values[0]!r}, the store's is {values[1]!r}"
                )
    return lines
