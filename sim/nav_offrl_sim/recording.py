"""Recording of planned drives: an environment, a driver, and what the robot senses on the way."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field, model_validator

from nav_offrl.config import Config
from nav_offrl.store import Episode
from nav_offrl.suites import simulated_source
from nav_offrl_sim.collectors import (
    BadgrWalk,
    Collector,
    ReconWalk,
    TeleoperationConfig,
    Teleoperator,
)
from nav_offrl_sim.configuration import EnvConfig, load_world_config
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.robot import Pose
from nav_offrl_sim.tasks import random_pose
from nav_offrl_sim.textures import Image
from nav_offrl_sim.world_pool import WorldPool

Policy = Literal["mixed", "teleoperation", "expert", "badgr", "recon"]
NO_NOISE = {"linear_noise": 0.0, "angular_noise": 0.0}


class CollectConfig(Config):
    """How drives are recorded."""

    policy: Policy = Field(
        "mixed",
        description="who drives: a person with an unsteady hand (teleoperation), the oracle "
        "(expert), BADGR's or RECON's random walk; mixed: teleoperation and BADGR's",
    )
    oracle_share: float = Field(0.6, ge=0, le=1, description="mixed: share of teleoperation")
    held_out_share: float = Field(0.15, ge=0, lt=1, description="share of held-out episodes")
    min_length: int = Field(150, ge=10, description="shortest episode, steps")
    max_length: int = Field(200, ge=10, description="longest episode, steps")
    teleoperation: TeleoperationConfig = TeleoperationConfig()
    jpeg_quality: int = Field(92, ge=50, le=100, description="quality of the JPEG frames")

    @model_validator(mode="after")
    def _ordered(self) -> "CollectConfig":
        if self.max_length < self.min_length:
            raise ValueError("max_length must not be below min_length")
        return self


@dataclass(frozen=True)
class EpisodePlan:
    """What one drive will be, drawn before any is recorded."""

    index: int
    seed: int
    world_seed: int
    length: int
    start: Pose
    policy: str
    held_out: bool

    @property
    def name(self) -> str:
        """Name of its episode, or of the first where it was interrupted by a reset."""
        return f"episode_{self.index:05d}"


class Recorder:
    """An environment and whoever drives in it; records planned drives."""

    def __init__(self, config: EnvConfig, world_seed: int, collect: CollectConfig) -> None:
        """Begin in the world `world_seed`; plans of other worlds lead there."""
        # Pictures are drawn when recorded; nothing here depends on the environment's own goal.
        config = config.model_copy(update={"images": "lazy", "goal": "pose", "time_limit": 1e9})
        world = WorldPool(load_world_config(config.world)).world(world_seed)
        self.env = NavigationEnv(config, world=world)
        self._config = collect
        self._collectors: dict[str, Collector] = {}
        self._oracle_world: int | None = None

    def record(self, plan: EpisodePlan) -> list[Episode]:
        """Drive as planned; row t holds what was seen at t and what the command at t led to.

        Where the robot has to be put somewhere else, another episode of the same session begins.
        """
        rng, chance = (np.random.default_rng([plan.seed, stream]) for stream in range(2))
        episodes: list[Episode] = []
        start, left = plan.start, plan.length
        while left > 0:
            frames, rows = self._drive(plan, start, left, rng, int(chance.integers(2**62)))
            left -= max(1, len(rows))
            if len(rows) > 1:
                episodes.append(self._episode(plan, len(episodes), frames, rows))
            start = random_pose(self.env.space, chance)
        return episodes

    def close(self) -> None:
        """Free the renderer."""
        self.env.close()

    def _drive(
        self, plan: EpisodePlan, start: Pose, steps: int, rng: np.random.Generator, seed: int
    ) -> tuple[dict[str, list[bytes]], list[dict[str, Any]]]:
        """Drive at most `steps` steps, until the robot falls over or its driver gives up."""
        options = {"world_seed": plan.world_seed, "start": start, "goal": start}
        _, info = self.env.reset(seed=seed, options=options)
        driver = self._collector(plan.policy)
        driver.begin(rng)
        frames: dict[str, list[bytes]] = {name: [] for name in self.env.robot_config.cameras}
        rows: list[dict[str, Any]] = []
        while len(rows) < steps and not info["flipped"]:
            command = driver.command(info)
            if command is None:
                break
            for name, jpegs in frames.items():
                jpegs.append(self._jpeg(self.env.image(name)))
            row = _seen(info)
            info = self.env.step(np.array(command))[-1]
            row["action"] = command
            row["collision"] = info["collision"] or info["stuck"] or info["flipped"]
            row["bumpiness"] = info["bumpiness"]
            rows.append(row)
        return frames, rows

    def _collector(self, policy: str) -> Collector:
        """Who drives by a name; who knows the map learns it anew in every world."""
        world, robot = self.env.world, self.env.robot_config
        if self._oracle_world != world.seed:
            oracle = OracleDriver(world, robot, self.env.space)
            hand = self._config.teleoperation
            steady = hand.model_copy(update=NO_NOISE)
            self._collectors = {
                "teleoperation": Teleoperator(oracle, robot, hand),
                "expert": Teleoperator(oracle, robot, steady),
                "badgr": BadgrWalk(robot),
                "recon": ReconWalk(robot),
            }
            self._oracle_world = world.seed
        return self._collectors[policy]

    def _episode(
        self,
        plan: EpisodePlan,
        number: int,
        frames: dict[str, list[bytes]],
        rows: list[dict[str, Any]],
    ) -> Episode:
        family = self.env.world.config.name
        return Episode(
            name=plan.name if number == 0 else f"{plan.name}_{number}",
            images=frames,
            fields={name: np.array([row[name] for row in rows]) for name in rows[0]},
            split="held_out" if plan.held_out else "train",
            session=f"{family}_{plan.world_seed}_{plan.index:05d}",
            source=simulated_source(family, plan.world_seed, plan.policy),
            robot=self.env.robot_config.name,
            licence="CC0-1.0",
        )

    def _jpeg(self, image: Image) -> bytes:
        options = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        assert done
        return encoded.tobytes()


def _seen(info: dict[str, Any]) -> dict[str, Any]:
    """What the robot's sensors say at a step, by the store's names."""
    sensed = info["sensed"]
    seen = {
        "time": round(info["time"] * 1e9),
        "position": sensed["odometry"][:2],
        "yaw": sensed["odometry"][2],
        "velocity": sensed["velocity"],
    }
    return seen | {name: sensed[name] for name in ("imu", "lidar") if name in sensed}
