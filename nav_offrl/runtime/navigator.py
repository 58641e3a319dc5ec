"""Drive to the place on a goal image: pure functions over an explicit state.

Time is an argument (s), so ROS callbacks, a simulator faster than real time, a recorded log and
a fuzzer drive the same code. Every fault ends in `Command.STOP` with a reason.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nav_offrl.config import Config
from nav_offrl.errors import NavOffrlError
from nav_offrl.runtime.bundle import Bundle
from nav_offrl.runtime.checks import Scenery, accelerate, clip_command, time_fault, watch_scenery
from nav_offrl.runtime.types import (
    Command,
    Diagnosis,
    Pixels,
    Status,
    TimedImage,
    TimedOdometry,
    image_digest,
)


class NavigatorConfig(Config):
    """Limits of age, speed and acceleration within which the navigator drives."""

    max_image_age: float = Field(0.5, gt=0, le=5, description="older images stop the robot (s)")
    max_odometry_age: float = Field(0.5, gt=0, le=5, description="older odometry stops it (s)")
    require_odometry: bool = Field(
        True, description="stop without odometry; the policy itself needs only images"
    )
    clock_tolerance: float = Field(
        0.1, ge=0, le=1, description="how far in the future a stamp may lie (s)"
    )
    max_frozen_time: float | None = Field(
        1.0,
        gt=0,
        description="identical pixels for longer stop the robot (s); null only for a camera "
        "without noise (a simulated one), whose picture of a resting robot never changes",
    )
    arrival_frames: int = Field(
        2, ge=1, description="consecutive fresh images that must say 'arrived'"
    )
    max_linear_velocity: float | None = Field(
        None, gt=0, description="speed limit below the bundle's own (m/s); null: the bundle's"
    )
    max_angular_velocity: float | None = Field(
        None, gt=0, description="turn rate limit below the bundle's own (rad/s)"
    )
    max_linear_acceleration: float = Field(
        1.0, gt=0, description="speeding up (m/s^2); braking is never limited"
    )
    max_angular_acceleration: float = Field(
        3.0, gt=0, description="turning faster (rad/s^2); braking is never limited"
    )


@dataclass(frozen=True, eq=False)
class NavigatorInputs:
    """The latest image and odometry (None: none yet) and the time now (s)."""

    image: TimedImage | None
    odometry: TimedOdometry | None
    now: float


@dataclass(frozen=True, eq=False)
class NavigatorState:
    """All that the navigator remembers between steps; times in s.

    `goal_latent` is (1, D); `target` the policy's answer to the latest image, None until there
    is one since the goal or the last fault; `command` what was last commanded.
    """

    goal_latent: NDArray[np.float32] | None = None
    target: Command | None = None
    command: Command = Command.STOP
    now: float | None = None
    image_stamp: float | None = None
    scenery: Scenery | None = None
    steps_to_goal: float | None = None
    frames_at_goal: int = 0
    arrived: bool = False


Step = tuple[NavigatorState, Command, Diagnosis]


class Navigator:
    """Image in, velocity command out, towards one goal image."""

    def __init__(self, bundle: Bundle, config: NavigatorConfig | None = None) -> None:
        """Set the limits up.

        Raises:
            NavOffrlError: images at the bundle's rate would be stale before the next one comes.
        """
        self.bundle = bundle
        self.config = config or NavigatorConfig()
        period = 1.0 / bundle.contract.rate_hz
        if self.config.max_image_age < period:
            raise NavOffrlError(
                f"{self.config.max_image_age:g} s is shorter than the time between two images, "
                f"{period:g} s",
                where="max_image_age",
                remedy=f"allow at least {1.5 * period:.2f} s, or train for a higher rate",
            )
        action = bundle.contract.action
        linear = self.config.max_linear_velocity or math.inf
        angular = self.config.max_angular_velocity or math.inf
        self._low = (max(action.low[0], -linear), max(action.low[1], -angular))
        self._high = (min(action.high[0], linear), min(action.high[1], angular))
        self._accelerations = (
            self.config.max_linear_acceleration,
            self.config.max_angular_acceleration,
        )

    def initial_state(self) -> NavigatorState:
        """Stopped, without a goal."""
        return NavigatorState()

    def with_goal(self, state: NavigatorState, goal_image: Pixels) -> NavigatorState:
        """Take an (H, W, 3) uint8 RGB image at the contract's size as the goal; encode it once.

        Raises:
            NavOffrlError: shape or dtype differ from the contract, or the latent is not finite.
        """
        fault = self._pixel_fault(goal_image)
        if fault is not None:
            camera = self.bundle.contract.camera
            raise NavOffrlError(
                fault,
                where="goal image",
                remedy=f"give {camera.height}x{camera.width} RGB from the robot's own camera",
            )
        latent = self.bundle.encode(goal_image[None])
        if not np.isfinite(latent).all():
            raise NavOffrlError("its latent is not finite", where="goal image")
        return replace(
            state,
            goal_latent=latent,
            target=None,
            image_stamp=None,
            steps_to_goal=None,
            frames_at_goal=0,
            arrived=False,
        )

    def without_goal(self, state: NavigatorState) -> NavigatorState:
        """Forget the goal; the next step commands stop."""
        return NavigatorState(now=state.now, scenery=state.scenery)

    def step(self, state: NavigatorState, inputs: NavigatorInputs) -> Step:
        """Advance to `inputs.now`; never raises because of an input, stops instead."""
        now = inputs.now
        if not math.isfinite(now):
            return self._stopped(state, inputs, "the time now is not a number")
        if state.now is not None and now < state.now:
            # What was seen under the old clock proves nothing about freshness under the new.
            state = replace(state, now=now, image_stamp=None, scenery=None)
            return self._stopped(state, inputs, "the clock jumped backwards")
        # In a long gap between steps the base may have stopped by itself: it earns no speed.
        elapsed = 0.0 if state.now is None else min(now - state.now, self.config.max_image_age)
        state = replace(state, now=now)
        image = inputs.image
        fault = self._image_fault(image, now) or self._odometry_fault(inputs.odometry, now)
        if fault is not None or image is None:
            return self._stopped(state, inputs, fault or "no image yet")
        if state.image_stamp is not None and image.stamp < state.image_stamp:
            return self._stopped(state, inputs, "the image is older than the one before it")
        is_new = image.stamp != state.image_stamp
        if is_new:
            scenery = watch_scenery(state.scenery, image_digest(image.pixels), now)
            state = replace(state, image_stamp=image.stamp, scenery=scenery)
        frozen = self._frozen_fault(state, now)
        if frozen is not None:
            return self._stopped(state, inputs, frozen)
        if state.goal_latent is None:
            return self._standing(state, inputs, Status.IDLE, "no goal")
        if state.arrived:
            return self._standing(state, inputs, Status.ARRIVED, "at the goal")
        return self._drive(state, inputs, image, is_new, elapsed)

    def _drive(
        self,
        state: NavigatorState,
        inputs: NavigatorInputs,
        image: TimedImage,
        is_new: bool,
        elapsed: float,
    ) -> Step:
        inference_time = 0.0
        if is_new or state.target is None:
            started = time.perf_counter()
            try:
                state, fault = self._look(state, image, is_new)
            except NavOffrlError as error:
                fault = str(error)
            inference_time = time.perf_counter() - started
            if fault is not None:
                return self._stopped(state, inputs, fault, inference_time)
            if state.arrived:
                return self._standing(state, inputs, Status.ARRIVED, "at the goal", inference_time)
        assert state.target is not None
        command = accelerate(state.target, state.command, self._accelerations, elapsed)
        state = replace(state, command=command)
        diagnosis = _diagnosis(state, inputs, Status.DRIVING, "driving", inference_time)
        return state, command, diagnosis

    def _look(
        self, state: NavigatorState, image: TimedImage, is_new: bool
    ) -> tuple[NavigatorState, str | None]:
        """Run the graphs on `image`; the second item names a fault of their outputs."""
        assert state.goal_latent is not None
        latent = self.bundle.encode(image.pixels[None])
        action = self.bundle.act(latent, state.goal_latent)[0]
        steps = float(self.bundle.steps_to_goal(latent, state.goal_latent)[0])
        if not (np.isfinite(action).all() and math.isfinite(steps)):
            return state, "the policy's output is not finite"
        target = clip_command(Command(float(action[0]), float(action[1])), self._low, self._high)
        at_goal = steps <= self.bundle.contract.arrival_steps
        frames = state.frames_at_goal + int(is_new) if at_goal else 0
        state = replace(
            state,
            target=target,
            steps_to_goal=steps,
            frames_at_goal=frames,
            arrived=frames >= self.config.arrival_frames,
        )
        return state, None

    def _image_fault(self, image: TimedImage | None, now: float) -> str | None:
        if image is None:
            return "no image yet"
        limits = (self.config.max_image_age, self.config.clock_tolerance)
        fault = time_fault("image", image.stamp, image.arrival, now, *limits)
        return fault or self._pixel_fault(image.pixels)

    def _pixel_fault(self, pixels: Pixels) -> str | None:
        camera = self.bundle.contract.camera
        wanted = (camera.height, camera.width, 3)
        if pixels.shape != wanted or pixels.dtype != np.uint8:
            return f"image is {pixels.dtype} {pixels.shape}, the bundle takes uint8 {wanted}"
        return None

    def _odometry_fault(self, odometry: TimedOdometry | None, now: float) -> str | None:
        if odometry is None:
            return "no odometry yet" if self.config.require_odometry else None
        if not odometry.is_finite():
            return "odometry is not finite"
        limits = (self.config.max_odometry_age, self.config.clock_tolerance)
        return time_fault("odometry", odometry.stamp, odometry.arrival, now, *limits)

    def _frozen_fault(self, state: NavigatorState, now: float) -> str | None:
        limit = self.config.max_frozen_time
        if limit is None or state.scenery is None or now - state.scenery.since <= limit:
            return None
        return f"the camera is frozen: same pixels for {now - state.scenery.since:.1f} s"

    def _stopped(
        self,
        state: NavigatorState,
        inputs: NavigatorInputs,
        reason: str,
        inference_time: float = 0.0,
    ) -> Step:
        state = replace(state, target=None, frames_at_goal=0)
        return self._standing(state, inputs, Status.STOPPED, reason, inference_time)

    def _standing(
        self,
        state: NavigatorState,
        inputs: NavigatorInputs,
        status: Status,
        reason: str,
        inference_time: float = 0.0,
    ) -> Step:
        state = replace(state, command=Command.STOP)
        diagnosis = _diagnosis(state, inputs, status, reason, inference_time)
        return state, Command.STOP, diagnosis


def _diagnosis(
    state: NavigatorState,
    inputs: NavigatorInputs,
    status: Status,
    reason: str,
    inference_time: float,
) -> Diagnosis:
    age = None if inputs.image is None else inputs.now - inputs.image.stamp
    return Diagnosis(status, reason, state.steps_to_goal, age, inference_time)
