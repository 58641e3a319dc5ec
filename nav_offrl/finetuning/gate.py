"""The promotion gate: a candidate drives only after it has shown that it is not worse.

Incumbent and candidate drive the same starts and goals, which are not those that success is
reported on. The candidate is promoted when it wins more of the pairs on which the two differ than
it loses, and touches things no more often.
"""

from collections.abc import Sequence

from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.evaluation.rollouts import Drive


class Verdict(Config):
    """What the gate saw and decided."""

    promoted: bool
    reason: str
    gained: int = Field(ge=0, description="pairs that only the candidate reached")
    lost: int = Field(ge=0, description="pairs that only the incumbent reached")
    incumbent_collisions: int = Field(ge=0)
    candidate_collisions: int = Field(ge=0)


def judge(
    incumbent: Sequence[Drive], candidate: Sequence[Drive], collision_margin: float = 0.0
) -> Verdict:
    """Compare the two on the same pairs, in order.

    `collision_margin` is how many more collisions per drive are still taken for chance.
    """
    gained = sum(c.success and not i.success for i, c in zip(incumbent, candidate, strict=True))
    lost = sum(i.success and not c.success for i, c in zip(incumbent, candidate, strict=True))
    before, after = (sum(d.collisions for d in drives) for drives in (incumbent, candidate))
    allowed = before + collision_margin * len(candidate)
    if lost > gained:
        reason = f"reaches {lost - gained} goals fewer"
    elif gained == lost:
        reason = "is no better"
    elif after > allowed:
        reason = f"touches things {after} times, the incumbent {before} times"
    else:
        reason = f"reaches {gained - lost} goals more"
    return Verdict(
        promoted=gained > lost and after <= allowed,
        reason=f"the candidate {reason}",
        gained=gained,
        lost=lost,
        incumbent_collisions=before,
        candidate_collisions=after,
    )
