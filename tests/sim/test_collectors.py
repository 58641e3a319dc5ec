"""The drivers that record logs, each by what it is known for."""

import math

import numpy as np
import pytest

from nav_offrl.store import Store
from nav_offrl_sim import EnvConfig, generate_world, load_robot_config
from nav_offrl_sim.collection import CollectConfig, Recorder, collect, plan_episodes
from nav_offrl_sim.collectors import (
    BadgrWalk,
    Correlated,
    ReconWalk,
    TeleoperationConfig,
    Teleoperator,
)
from nav_offrl_sim.configuration import PedestriansConfig, load_world_config
from nav_offrl_sim.environment import NavigationEnv
from nav_offrl_sim.geometry import Obstacle
from nav_offrl_sim.oracle import OracleDriver
from nav_offrl_sim.recording import EpisodePlan

GENERIC = load_robot_config("generic")
JACKAL = load_robot_config("jackal")


def drive(world, robot, collector, start, steps, seed=0, lidar=True):
    """Let a collector drive; the infos before and after every step, and its commands."""
    env = NavigationEnv(EnvConfig(images="never", lidar=lidar), world=world, robot=robot)
    _, info = env.reset(seed=seed, options={"start": start, "goal": start})
    collector.begin(np.random.default_rng(seed))
    infos, commands = [info], []
    for _ in range(steps):
        command = collector.command(info)
        commands.append(command)
        if command is None:
            break
        info = env.step(np.array(command))[-1]
        infos.append(info)
    return infos, commands


def test_correlated_noise_has_unit_variance_and_its_correlation_time():
    noise = Correlated(np.random.default_rng(0), period=0.2, time_constant=1.0)
    values = np.array([noise() for _ in range(40_000)])
    assert values.std(axis=0) == pytest.approx(1.0, abs=0.03)
    # exp(-1) after a time constant.
    same = np.mean(values[5:] * values[:-5], axis=0)
    assert same == pytest.approx(math.exp(-1), abs=0.03)


@pytest.mark.parametrize("robot", [GENERIC, JACKAL], ids=lambda robot: robot.name)
@pytest.mark.parametrize("kind", ["teleoperation", "expert", "badgr", "recon"])
def test_commands_stay_within_the_limits(kind, robot):
    world = generate_world(load_world_config("office"), 0)
    oracle = OracleDriver(world, robot)
    collector = {
        "teleoperation": Teleoperator(oracle, robot, TeleoperationConfig()),
        "expert": Teleoperator(oracle, robot, TeleoperationConfig(linear_noise=0, angular_noise=0)),
        "badgr": BadgrWalk(robot),
        "recon": ReconWalk(robot),
    }[kind]
    row, column = oracle.space.cells[len(oracle.space.cells) // 3]
    infos, commands = drive(world, robot, collector, (*oracle.space.centre(row, column), 0.0), 300)
    driven = np.array([command for command in commands if command is not None])
    assert driven[:, 0].min() >= -robot.max_reverse and driven[:, 0].max() <= robot.max_linear
    assert np.abs(driven[:, 1]).max() <= robot.max_angular
    assert driven.std(axis=0).min() > 0.05
    if kind == "expert":
        assert not any(info["collision"] for info in infos)


def test_badgrs_walk_touches_things_backs_up_and_turns_away(arena):
    world = arena(Obstacle(14.0, 10.0, 0.5, 8.0))
    infos, commands = drive(world, JACKAL, BadgrWalk(JACKAL), (12.0, 10.0, 0.0), 150, seed=5)
    touched = next(i for i, info in enumerate(infos) if info["collision"])
    back = commands[touched : touched + 5]
    assert all(command == (-1.0, 0.0) for command in back), "a second backwards"
    turning = commands[touched + 5]
    assert turning[0] == 0.0 and abs(turning[1]) == JACKAL.max_angular
    # It leaves what it met: later it drives on without touching it again for a while.
    assert not any(info["collision"] for info in infos[touched + 2 : touched + 12])


def test_a_robot_without_reverse_turns_on_the_spot(arena):
    world = arena(Obstacle(14.0, 10.0, 0.5, 8.0))
    infos, commands = drive(world, GENERIC, BadgrWalk(GENERIC), (12.0, 10.0, 0.0), 60, seed=2)
    touched = next(i for i, info in enumerate(infos) if info["collision"])
    assert commands[touched][0] == 0.0 and abs(commands[touched][1]) == GENERIC.max_angular


def test_recons_walk_turns_away_before_it_touches(arena):
    walls = [Obstacle(10.0, 10.0 + side, 4.0, 0.1) for side in (-4.0, 4.0)]
    walls += [Obstacle(10.0 + side, 10.0, 0.1, 4.0) for side in (-4.0, 4.0)]
    world = arena(*walls)
    counts = {}
    for kind in (BadgrWalk, ReconWalk):
        infos, _ = drive(world, GENERIC, kind(GENERIC), (10.0, 10.0, 0.0), 600, seed=3)
        counts[kind] = sum(info["collision"] for info in infos)
    assert counts[BadgrWalk] > 5 and counts[ReconWalk] == 0


def test_recons_lidar_takes_tall_grass_for_solid_and_badgr_drives_through(arena):
    grass = Obstacle(14.0, 10.0, 1.0, 10.0)
    world = arena(grass=[grass])
    farthest = {}
    for kind in (BadgrWalk, ReconWalk):
        infos, _ = drive(world, GENERIC, kind(GENERIC), (10.0, 10.0, 0.0), 400, seed=4)
        farthest[kind] = max(info["pose"][0] for info in infos)
    assert farthest[ReconWalk] < 13.0 < farthest[BadgrWalk]


def test_recons_walk_asks_for_help_where_it_cannot_get_out(arena):
    walls = [Obstacle(10.0, 10.0 + side, 0.9, 0.1) for side in (-0.8, 0.8)]
    walls += [Obstacle(10.0 + side, 10.0, 0.1, 0.9) for side in (-0.8, 0.8)]
    _, commands = drive(arena(*walls), GENERIC, ReconWalk(GENERIC), (10.0, 10.0, 0.0), 500)
    assert commands[-1] is None
    assert len(commands) == 200, "after 40 s"


def test_a_reset_begins_another_episode_of_the_same_session(tmp_path, monkeypatch):
    config = CollectConfig(policy="recon")
    recorder = Recorder(EnvConfig(world="courtyard", lidar=False), 0, config)

    class GivesUp(ReconWalk):
        def begin(self, rng):
            super().begin(rng)
            self.left = 30

        def command(self, info):
            self.left -= 1
            return super().command(info) if self.left >= 0 else None

    start = (*recorder.env.space.centre(*recorder.env.space.cells[500]), 0.0)
    plan = EpisodePlan(7, 1, 0, 75, start, "recon", False)
    recorder._collector("recon")
    recorder._collectors["recon"] = GivesUp(recorder.env.robot_config)
    episodes = recorder.record(plan)
    recorder.close()
    assert [len(one.fields["time"]) for one in episodes] == [30, 30, 15]
    assert [one.name for one in episodes] == [
        "episode_00007",
        *map("episode_00007_{}".format, "12"),
    ]
    assert {one.session for one in episodes} == {"courtyard_0_00007"}
    assert {one.source for one in episodes} == {"simulated, world courtyard 0, recon"}
    places = [one.fields["position"][0] for one in episodes]
    assert places[0] == pytest.approx(start[:2])
    assert all(one.fields["time"][0] == 0 for one in episodes)
    assert math.dist(places[0], places[1]) > 0.1


def test_several_worlds_share_a_store(tmp_path):
    config = CollectConfig(min_length=40, max_length=40, policy="expert", held_out_share=0.5)
    env = EnvConfig(world="courtyard", pedestrians=PedestriansConfig(count=2))
    path = collect(env, range(3), tmp_path / "s", 240, progress=False, config=config)
    store = Store.open(path)
    assert list(store.episodes.length) == [40] * 6
    worlds = [source.split()[3].rstrip(",") for source in store.episodes.source]
    assert worlds == ["0", "0", "1", "1", "2", "2"]
    assert len(store.episodes.of_split("held_out")) == 3
    first, other = store.images("front", slice(0, 1)), store.images("front", slice(80, 81))
    assert np.abs(first.astype(int) - other).mean() > 10, "another world looks different"
    assert "lidar" in store.info.fields and "imu" in store.info.fields


def test_plans_are_fair_to_every_world():
    config = CollectConfig(min_length=40, max_length=40)
    space = generate_world(load_world_config("courtyard"), 0).free_space(0.25)
    plans = plan_episodes({3: space, 8: space, 9: space}, 1600, 0, config)
    assert [sum(plan.world_seed == seed for plan in plans) for seed in (3, 8, 9)] == [14, 13, 13]
    assert sum(plan.length for plan in plans) == 1600
    assert len({plan.seed for plan in plans}) == 40
