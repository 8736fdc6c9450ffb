"""A simulated robot behind the `Robot` protocol, with the delays, limits and faults of a real one."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from sim import bullet_world as bw
from sim.body import Body
from sim.bullet_world import World
from sim.camera import Camera
from sim.controller import JointController
from sim.drift import Drifted, DriftFollower, DriftSchedule, DriftSubject, check_joints
from sim.dynamics import DynamicsParams
from sim.history import History, Sample, is_sane
from sim.quiet_bullet import p
from sim.robot import Command, CommandMode, Health, Observation, RobotSpec
from sim.sensors import SensorModel, SensorParams, rotate_small, to_body, yaw_of
from sim.state import Pose, SimulationError, Truth

_NO_TILT = (0.0, 0.0, 0.0)


class SimulatedRobot:
    """A robot in its own PyBullet world.

    The robot clock is simulated time; it goes on through `place` and never back. All randomness comes from ``seed``.

    Attributes:
        body: What is fixed about the robot, as the physics sees it; its nominal dynamics among others.
    """

    def __init__(
        self,
        spec: RobotSpec,
        body: Body,
        *,
        seed: int = 0,
        dynamics: DynamicsParams | None = None,
        sensors: SensorParams | None = None,
    ) -> None:
        """Build the world and put the robot into its stance at the origin, motors without current.

        Args:
            spec: What is fixed about the robot, as its users see it.
            body: What is fixed about it, as the physics sees it.
            seed: Seed of the sensors' noise.
            dynamics: Nominal when None.
            sensors: Realistic noise when None.

        Raises:
            ValueError: ``dynamics`` does not fit the robot.
        """
        self._spec = spec
        self.body = body
        self._hz = body.physics_hz
        self._owed_steps = 0.0
        """Physics steps that the clock is behind, less than one."""
        self._motors = body.motor_model(spec.n_joints, 1.0 / self._hz)
        self._sensors = SensorModel(
            sensors or SensorParams(),
            body.direction,
            self._motors.constants.torque_per_a_nm,
            spec.n_feet,
            np.random.default_rng(seed),
        )
        self._direction = np.array(body.direction)
        self._controller = JointController(spec, body.direction, self._hz, self._motors)
        self._tick = 0
        self._problem = ""
        self._camera = Camera(body)
        self._closed = False
        self._dynamics = dynamics or body.nominal
        self._drift = DriftFollower()
        self._in_force = Drifted(dynamics=self._dynamics, joint_offset_rad=(0.0,) * spec.n_joints)
        self._observation_ticks = self._tracker_ticks = 0
        self._world: World | None = None
        self._cached: Observation | None = None
        self._history = History(self._hz)
        self._seen: deque[list[float]] = deque()
        self._seen_gains: tuple[float, float] | None = None
        self._read_tick = -1
        self.set_dynamics(self._dynamics)
        self._motors.recharge()
        self._motors.cool()
        self.place(Pose())

    @property
    def spec(self) -> RobotSpec:
        """What is fixed about the robot."""
        return self._spec

    @property
    def time_s(self) -> float:
        """Robot clock."""
        return self._tick / self._hz

    @property
    def dynamics(self) -> DynamicsParams:
        """The dynamics that were set; drift comes on top of them (`in_force`)."""
        return self._dynamics

    @property
    def in_force(self) -> Drifted:
        """The dynamics in force and the offsets of the sensors, for evaluation only."""
        return self._in_force

    @property
    def drift_subject(self) -> DriftSubject:
        """What must be known of this robot to say how it drifts."""
        return self.body.drift_subject(self._spec)

    # --- what a real robot has ---------------------------------------------------------------------------------------

    def read(self) -> Observation:
        """The newest reading; two readings at the same time are the same measurement."""
        if self._cached is not None and self._read_tick == self._tick:
            return self._cached
        self._check_open()
        _, orientation, _, angular, currents = self._history.base(self._tick, self._observation_ticks)
        position, pointing, *_ = self._history.base(self._tick, self._tracker_ticks)
        joints = self._history.joints[self._observation_ticks]
        true = [state[0] for state in joints]
        true += [state[1] for state in joints]
        true += currents
        true += self._motors.temperature_c
        true += _NO_TILT
        true += to_body(orientation, angular)
        true += position
        true += (yaw_of(pointing), self._motors.supply_v)
        # One flat array, whose parts the reading shows as views: the sensors' noise then costs two NumPy calls.
        x = self._sensors.measure(true)
        n = self._spec.n_joints
        k = 4 * n
        valid = self._sensors.tracker_sees(self.time_s)
        if valid:
            self._tracked, self._tracked_yaw = x[k + 6 : k + 9], math.remainder(float(x[k + 9]), math.tau)
        self._cached = Observation(
            stamp_s=(self._tick - self._observation_ticks) / self._hz,
            joint_position=x[:n],
            joint_velocity=x[n : 2 * n],
            joint_torque=x[2 * n : 3 * n],
            orientation_xyzw=rotate_small(orientation, x[k : k + 3].tolist()),
            angular_velocity=x[k + 3 : k + 6],
            foot_contact=np.array(self._sensors.contacts(self._history.contact(self._tick - self._observation_ticks))),
            battery_v=float(x[k + 10]),
            motor_temperature_c=x[3 * n : k],
            base_position=self._tracked,
            base_yaw=self._tracked_yaw,
            base_valid=valid,
        )
        self._read_tick = self._tick
        return self._cached

    def write(self, command: Command) -> None:
        """Send a command; it comes into force after the action latency.

        Raises:
            ValueError: the target has the wrong shape, or a number of the command is not finite or a gain negative.
        """
        self._check_open()
        self._controller.send(command, self._tick)

    def stop(self) -> None:
        """Damping at once, current off half a second later; a newer command starts the motors again."""
        self._controller.stop(self._tick)

    def cut(self) -> None:
        """No current from this physics step on; a newer command starts the motors again."""
        self._controller.release()

    def health(self) -> Health:
        """Motors that were switched off hot, an empty battery, an exploded simulation."""
        problems = [self._problem] if self._problem else []
        if self._closed:
            problems.append("robot is closed")
        problems += [
            f"motor {name} switched off by its driver: too much torque for too long"
            for name, on in zip(self._spec.joint_names, self._motors.enabled, strict=True)
            if not on
        ]
        if self._motors.open_circuit_v < self._spec.battery_minimum_v:
            problems.append(f"battery at {self._motors.open_circuit_v:.1f} V")
        return Health(ok=not problems, problems=tuple(problems))

    def close(self) -> None:
        """Close the physics; closing twice does nothing."""
        self._closed = True
        if self._world is not None:
            self._world.close()
        self._camera.close()

    def __enter__(self) -> SimulatedRobot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what only a simulation has ----------------------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        """Advance the robot clock by whole physics steps, 500 per second; the rest of ``dt_s`` counts in the next call.

        Raises:
            SimulationError: the physics exploded; the world is rebuilt already and `health` says so until `place`.
        """
        self._check_open()
        self._drift_on()
        try:
            self._owed_steps += dt_s * self._hz
            steps = math.floor(self._owed_steps + 1e-6)  # a sum of float periods may be a hair short
            self._owed_steps -= steps
            self._advance(steps)
        except ValueError:  # a joint state is NaN
            self._recover()
        self._motors.settle_heat()
        self._history.note_contact(bw.foot_contacts(self._live, self._spec.n_feet), self._tick)
        self._check_sane()

    def place(self, pose: Pose) -> None:
        """Rebuild the world with the robot in a pose, at rest, motors without current until the next command.

        Bit-repeatable: the same pose, dynamics and commands give the same motion in any process.
        """
        self._check_open()
        self._problem = ""
        self._owed_steps = 0.0
        self._drift_on()
        self._rebuild(pose)

    def set_dynamics(self, params: DynamicsParams) -> None:
        """Change the dynamics from the next step on, in motion; what drifts goes on from there.

        Raises:
            ValueError: there is not one motor strength (or extra friction) per motor, or the centre of mass is out of
                reach.
        """
        n = self._spec.n_joints
        if len(params.motor_strength) != n:
            raise ValueError(f"{len(params.motor_strength)} motor strengths for {n} motors")
        if not {len(params.extra_viscous_nms), len(params.extra_friction_nm)} <= {0, n}:
            raise ValueError(f"extra friction of a part of {n} motors; give one number per motor, or none")
        self._enforce(params, anew=True)
        self._dynamics = params

    def follow_drift(self, schedule: DriftSchedule, robot_s: float | None = None) -> None:
        """Let the robot drift from now on, in motion and through placements, on top of what `set_dynamics` sets.

        Args:
            schedule: In place of the one before.
            robot_s: What its time is now; None: this robot's clock.

        Raises:
            ValueError: a drift is of a joint that this robot does not have.
        """
        for drift in schedule.drifts:
            check_joints(drift, self._spec.joint_names)
        self._drift = DriftFollower(schedule, 0.0 if robot_s is None else robot_s - self.time_s)
        self._enforce(self._dynamics)

    def push(self, impulse_ns: tuple[float, float], above_m: float = 0.0) -> None:
        """Knock the robot at the beginning of the next step.

        Args:
            impulse_ns: horizontal, in world axes, N s.
            above_m: height above the middle of the base at which it strikes.

        Raises:
            ValueError: a number is not finite.
        """
        self._check_open()
        bw.push(self._live, (*impulse_ns, 0.0), above_m)

    def put_wall(self, side: int) -> None:
        """Build a wall right beside the robot, on the side of the world's x, y, -x or -y axis; gone when it is placed.

        Args:
            side: 0 to 3.

        Raises:
            ValueError: there is no such side.
        """
        self._check_open()
        bw.put_wall(self._live, side)

    def raise_ramps(self, slope_deg: float) -> None:
        """Let two ramps rise around the middle, the steeper one as steep as this, and stand the robot between them."""
        self.body = replace(self.body, slope_deg=slope_deg)
        self._camera.close()
        self._camera = Camera(self.body)
        self.place(Pose())

    def recharge(self) -> None:
        """Swap the battery for a full one."""
        self._motors.recharge()

    def cool(self) -> None:
        """Let all motors reach ambient temperature at once."""
        self._motors.cool()

    def random_fallen_pose(self, rng: np.random.Generator) -> Pose:
        """Any orientation, legs anywhere, resting after a short fall."""
        return self.body.fallen_pose(rng)

    def truth(self) -> Truth:
        """What really is, for evaluation only."""
        position, orientation, linear, angular, _ = self._sample()
        joints = self._history.joints[0]
        states = np.array([state[:2] for state in joints]) * self._direction[:, None]
        return Truth(
            time_s=self.time_s,
            base_position=np.array(position),
            orientation_xyzw=np.array(orientation),
            linear_velocity=np.array(linear),
            angular_velocity=np.array(angular),
            joint_position=states[:, 0],
            joint_velocity=states[:, 1],
            joint_torque=np.array(self._motors.torque_nm) * self._direction,
            foot_contact=np.array(self._history.newest_contact()),
            energy_j=self._motors.energy_j,
        )

    @property
    def body_on_floor(self) -> bool:
        """Whether base or hips touch the floor now, for evaluation only."""
        return bw.body_contact(self._live)

    @property
    def motor_mode(self) -> CommandMode | None:
        """What the motors do now, for evaluation only; None: they carry no current."""
        return self._controller.mode

    def camera(self, width: int, height: int) -> NDArray[np.uint8]:
        """Picture of the robot (`sim.camera.Camera.picture`). Returns shape: (height, width, 3), RGB."""
        self._check_open()
        return self._camera.picture(self._live, width, height)

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _live(self) -> World:
        if self._world is None:
            raise RuntimeError("the robot has no world yet")
        return self._world

    def _drift_on(self) -> None:
        if self.time_s >= self._drift.due_s:
            self._enforce(self._dynamics)

    def _enforce(self, nominal: DynamicsParams, *, anew: bool = False) -> None:
        """Bring into force what drift makes of ``nominal`` now; with ``anew`` the physics is told in any case."""
        drifted = self._drift.at(nominal, self.time_s)
        params = drifted.dynamics
        if self._world is not None:
            if params is not nominal:
                params = bw.reachable(self._world, params)
            if anew or bw.differ(params, self._in_force.dynamics):
                bw.apply_dynamics(self._world, params)
        self._in_force = replace(drifted, dynamics=params)
        self._motors.obey(params)
        self._sensors.shift(drifted.joint_offset_rad, drifted.tilt_bias_rad, drifted.gyro_bias_radps)
        self._controller.shift_zero(drifted.joint_offset_rad)
        self._controller.latency_ticks = round(params.action_latency_s * self._hz)
        self._observation_ticks = round(params.observation_latency_s * self._hz)
        self._tracker_ticks = round(self._sensors.params.tracker_delay_s * self._hz)
        steps = params.pd_latency_s * self._hz
        self._pd_ticks = int(steps + 1e-9)
        self._pd_blend = max(0.0, steps - self._pd_ticks)
        self._seen_gains = None
        self._history.deepen(max(self._observation_ticks, self._pd_ticks + 1) + 1)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the robot is closed; make a new one")

    def _sample(self) -> Sample:
        """Measure the base now."""
        world = self._live
        c, body = world.client, world.body
        position, orientation = p.getBasePositionAndOrientation(body, physicsClientId=c)
        linear, angular = p.getBaseVelocity(body, physicsClientId=c)
        return position, orientation, linear, angular, tuple(self._motors.current_a)

    def _advance(self, n_steps: int) -> None:
        """Physics steps, each with its own motor torques; the loop is the simulator's hot path."""
        controller = self._controller
        controller.refresh()
        tick, end = self._tick, self._tick + n_steps
        while tick < end:
            if tick >= controller.next_tick:
                controller.update(tick)
            until = min(end, controller.next_tick)
            self._run(tick, until)
            tick = until
        self._tick = tick

    def _run(self, tick: int, until: int) -> None:
        """Physics steps during which the controller does one thing."""
        world, history, controller = self._live, self._history.joints, self._controller
        client, body, joints = world.client, world.body, world.motors
        apply, simulate, read = p.setJointMotorControlArray, p.stepSimulation, p.getJointStates
        mode, motors = p.TORQUE_CONTROL, controller.motors
        step, coast, feedback = motors.step, motors.coast, motors.feedback
        offset, kp, kd, blend = controller.offset, controller.kp, controller.kd, self._pd_blend
        behind, limp = self._pd_ticks, controller.mode is None
        every, origin = self._history.base_every, self._history.origin
        now = history[0]
        seen = self._what_motors_see(kp, kd, limp)
        while tick < until:
            if limp:
                torques = coast(now)
            else:
                late = seen[behind - 1] if behind else feedback(now, kp, kd)
                torques, fresh = step(offset, kp, kd, now, late, seen[behind], blend)
                seen.appendleft(fresh)
            apply(body, joints, mode, forces=torques, physicsClientId=client)
            simulate(client)
            tick += 1
            now = read(body, joints, client)
            history.appendleft(now)
            if (tick - origin) % every == 0:
                self._history.note_base(self._sample())

    def _what_motors_see(self, kp: float, kd: float, limp: bool) -> deque[list[float]]:
        """Feedback of the joint states before the present one, newest first; kept while the gains stay the same."""
        if (kp, kd) != self._seen_gains:
            states, depth = self._history.joints, self._pd_ticks + 1
            past = [self._motors.feedback(states[k], kp, kd) for k in range(1, depth + 1)]
            self._seen = deque(past, maxlen=depth)
        self._seen_gains = None if limp else (kp, kd)
        return self._seen

    def _rebuild(self, pose: Pose) -> None:
        joints = self._spec.stand_position_rad if pose.joint_position is None else pose.joint_position
        if len(joints) != self._spec.n_joints:
            raise ValueError(f"pose has {len(joints)} joint positions, the robot has {self._spec.n_joints} joints")
        world = bw.build_world(self.body)
        if self._world is not None:
            self._world.close()
        bw.apply_dynamics(world, self._in_force.dynamics)
        bw.pose_robot(world, pose.position, pose.orientation_xyzw, [float(q) for q in joints], pose.clearance_m)
        self._world = world
        self._motors.power_cycle()
        self._forget_past()
        if pose.settle_s > 0.0:
            self._controller.damp()
            self._run(0, round(pose.settle_s * self._hz))
            self._motors.power_cycle()
            self._forget_past()
        self._controller.release()

    def _forget_past(self) -> None:
        """Fill all memories of the past with the present."""
        world = self._live
        sample = self._sample()
        joint_states = p.getJointStates(world.body, world.motors, physicsClientId=world.client)
        self._seen_gains = None
        self._history.fill(joint_states, sample, bw.foot_contacts(world, self._spec.n_feet), self._tick)
        self._tracked, self._tracked_yaw = np.array(sample[0]), yaw_of(sample[1])
        self._sane_position, self._sane_yaw = sample[0], self._tracked_yaw
        self._cached = None

    def _check_sane(self) -> None:
        now = self._history.base(self._tick, 0)
        if not is_sane(now, self._history.joints[0]):
            self._recover()
        self._sane_position, self._sane_yaw = now[0], yaw_of(now[1])

    def _recover(self) -> NoReturn:
        x, y, _ = self._sane_position
        self._rebuild(Pose.standing(x, y, self._sane_yaw))
        self._problem = f"simulation exploded at {self.time_s:.3f} s; the world was rebuilt, place the robot to go on"
        raise SimulationError(self._problem)
