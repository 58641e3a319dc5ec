"""Which sessions are kept out of training: one rule for new stores and for growing ones."""

import hashlib
from collections.abc import Mapping

from nav_offrl_datasets.config import ImportConfig

Splits = dict[str, str]  # session -> "train" or "held_out"


class HoldOut:
    """Decides a session's split by the hash of seed and name, whatever else is in the store.

    A session is held out where its hash, as a number in [0, 1), is below the fraction. So a
    decision never depends on the order of the log, and never changes when the store grows: `fixed`
    sessions, those of a finished store and those of which the log itself says the split, stay what
    they are. Where that leaves a store with nothing to train on, or one of several sessions with
    none held out, `corrections` moves the one of the `new` sessions whose hash is highest (lowest).
    """

    def __init__(
        self, config: ImportConfig, fixed: Mapping[str, str], new: Mapping[str, str]
    ) -> None:
        self._config = config
        self._fixed: Splits = dict(fixed)
        self._new: Splits = dict(new)

    def split_of(self, session: str, said: str = "") -> str:
        """Return the split of a session; `said` is what the log itself says of it, if anything."""
        if said:
            self._fixed[session] = said
            return said
        if session in self._fixed:
            return self._fixed[session]
        below = self._hash(session) < self._config.held_out_fraction
        return self._new.setdefault(session, "held_out" if below else "train")

    def corrections(self) -> Splits:
        """Return the sessions that must change their split now that all are known."""
        splits = self._fixed | self._new
        used = set(splits.values())
        if not self._new or len(used) > 1:
            return {}
        if used == {"held_out"}:
            return {max(self._new, key=self._hash): "train"}
        if len(splits) > 1 and self._config.held_out_fraction > 0:
            return {min(self._new, key=self._hash): "held_out"}
        return {}

    def _hash(self, session: str) -> float:
        digest = hashlib.sha256(f"{self._config.seed}/{session}".encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48
