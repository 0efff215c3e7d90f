"""What the nodes have in common: lifecycle with autostart, parameters, QoS overrides, diagnostics, a clean end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

from dedelayed_ros.errors import DedelayedError, InputError
from dedelayed_ros.nodes import parameters
from dedelayed_ros.nodes.diagnostics import Diagnostics, Level, Report, worst
from dedelayed_ros.nodes.settings import NODES, CommonSettings

SENSOR_DATA: QoSProfile = qos_profile_sensor_data
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
# A lost picture breaks the chain of motion; a reader that is busy for a second must not lose any.
CHAIN = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_JOIN_S = 1.5  # a thread that hangs in a device's driver is left behind: the process must end within two seconds
_SPIN_S = 0.1
_END_S = 1.8  # after a signal; loading a model or a driver may take longer, and nobody waits for it then

SettingsT = TypeVar('SettingsT', bound=CommonSettings)


class StreamNode(LifecycleNode, Generic[SettingsT]):
    """A lifecycle node of one camera stream.

    A subclass overrides :meth:`configure`, :meth:`activate`, :meth:`deactivate`, :meth:`cleanup` (each may raise
    DedelayedError, which fails the transition with its message) and :meth:`report`. ``settings`` are read anew from the
    parameters at each configure.

    Raises:
        InputError: a parameter has a wrong type or is out of range.
    """

    settings_type: type[SettingsT]

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.specs = parameters.specs(self.settings_type)
        self._settings, self.strangers = parameters.declare(self, self.settings_type)
        self._complaints: list[str] = []
        self._managed: list[LifecyclePublisher] = []
        self._subscriptions_made: list[Subscription] = []
        self._trouble: tuple[Level, str] | None = None
        self.configured = False
        self.active = False
        self.exit_code: int | None = None
        """Not None: the process is to end with it."""
        self.needed = True
        """Whether the process has nothing to do when this node cannot start."""
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = Diagnostics(self, self._report)

    @property
    def settings(self) -> SettingsT:
        """What the node works with."""
        return self._settings

    # -- what a subclass does

    def configure(self) -> None:
        """Check what can be checked, load what is slow to load, create topics."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working; end the threads."""

    def cleanup(self) -> None:
        """Let go of what `configure` made. Topics go by themselves."""

    def report(self) -> Report:
        """State and figures while active."""
        return Report()

    def changed(self, name: str) -> None:
        """A live parameter has a new value in ``settings``."""

    # -- what it uses

    def publisher(self, kind: type, topic: str, qos: QoSProfile) -> LifecyclePublisher:
        """A publisher that is silent while the node is not active, with QoS overrides, until cleanup."""
        with _overriding(topic):
            publisher: LifecyclePublisher = self.create_lifecycle_publisher(
                kind, topic, _copy(qos), qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )
        self._managed.append(publisher)
        return publisher

    def subscription(self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile) -> Subscription:
        """A subscription with QoS overrides until cleanup; its callback runs only while the node is active."""

        def receive(message: Any) -> None:
            if self.active:
                callback(message)

        with _overriding(topic):
            subscription = self.create_subscription(
                kind, topic, receive, _copy(qos), qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )
        self._subscriptions_made.append(subscription)
        return subscription

    def warn_once(self, message: str) -> None:
        """Log a message that would come with every frame, but only when it is another than the last one."""
        if message != getattr(self, '_warned', None):
            self._warned = message
            self.get_logger().warning(message)

    def complain(self, message: str) -> None:
        """Log something that is wrong for good; it stays in the diagnostics."""
        self._complaints.append(message)
        self.get_logger().error(message)

    # -- lifecycle

    def autostart(self) -> None:
        """Configure and activate if the parameter says so. A process without a node that it needs ends."""
        if not self.settings.autostart:
            return
        done = (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )
        if not done:
            self._diagnostics.publish()
            self.exit_code = 2 if self.needed else None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: unconfigured → inactive."""
        self._trouble = None
        values = {name: self.get_parameter(name).value for name in self.specs}
        self._settings = replace(self._settings, **values)
        if not self._attempt(self.configure):
            self._let_go()
            return TransitionCallbackReturn.FAILURE
        self.configured = True
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: inactive → active."""
        super().on_activate(state)
        self.active = True
        if not self._attempt(self.activate):
            self.active = False
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info('active')
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: active → inactive."""
        self.active = False
        self._attempt(self.deactivate)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: inactive → unconfigured."""
        self._let_go()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: any → finalized."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: a transition failed by a defect; begin again from unconfigured."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """End threads and let go of everything; safe to call in any state."""
        if self.active:
            self.active = False
            self._attempt(self.deactivate)
        self._let_go()

    def _let_go(self) -> None:
        self.configured = False
        self._attempt(self.cleanup)
        for publisher in self._managed:
            self.destroy_lifecycle_publisher(publisher)
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._managed.clear()
        self._subscriptions_made.clear()

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Run it; what it raises becomes a log entry and the node's state."""
        try:
            action()
        except DedelayedError as error:
            self._trouble = (Level.ERROR, str(error))
            self.get_logger().error(str(error))
            return False
        except Exception as error:  # a defect of ours: rclpy would swallow it
            self._trouble = (Level.ERROR, f'internal error: {type(error).__name__}: {error}')
            self.get_logger().error(traceback.format_exc())
            return False
        return True

    # -- parameters and diagnostics

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        accepted = {}
        for change in changes:
            spec = self.specs.get(change.name)
            if spec is None:
                continue  # ROS's own
            try:
                value = spec.accept(change.value)
            except InputError as error:
                return SetParametersResult(successful=False, reason=str(error))
            if self.configured and spec.change != 'any':
                reason = (
                    f'{change.name} can be set only while the node is unconfigured: ros2 lifecycle set '
                    f'{self.get_fully_qualified_name()} deactivate, then cleanup; set it; then configure and activate'
                )
                return SetParametersResult(successful=False, reason=reason)
            accepted[change.name] = value
        self._settings = replace(self._settings, **accepted)
        for name in accepted:
            self.changed(name)
        return SetParametersResult(successful=True)

    def _report(self) -> Report:
        states = [(Level.WARN, complaint) for complaint in self._complaints]
        state = 'active' if self.active else 'inactive' if self.configured else 'unconfigured'
        values: dict[str, Any] = {'state': state}
        if self._trouble is not None:
            states.append(self._trouble)
        if self.active:
            report = self.report()
            states.append((report.level, report.message))
            values.update(report.values)
        level, message = worst(states)
        if level == Level.OK:
            message = states[-1][1] if self.active else state
        return Report(level, message, values)


class Worker:
    """A thread of a node that is told to stop by an event. What it raises ends up in the node's log and diagnostics."""

    def __init__(self, node: StreamNode, name: str, work: Callable[[threading.Event], None]) -> None:
        self._node = node
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, wake: Callable[[], None] = lambda: None) -> None:
        """Tell it to stop, and wait for it a moment; ``wake`` is called between the two."""
        self._stop.set()
        wake()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            self._node.get_logger().warning(
                f'the thread {self._thread.name} did not end in {_JOIN_S} s, it is left behind'
            )

    def _run(self) -> None:
        self._node._attempt(lambda: self._work(self._stop))


def run(name: str, build: Callable[[], Sequence[StreamNode]], argv: Sequence[str] | None = None) -> int:
    """Run nodes until they end or are told to by SIGINT or SIGTERM; returns the exit code of the process.

    ``build`` makes the nodes, after rclpy is up. Errors of the user's making are one line on standard error and code 2.
    """
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not stop.is_set():
            deadline = threading.Timer(_END_S, os._exit, (0,))
            deadline.daemon = True
            deadline.start()
        stop.set()

    let_images_fit()
    try:
        # Our own handlers: rclpy's end the context under the feet of threads that still publish.
        rclpy.init(args=None if argv is None else list(argv), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rcl's errors have no common public base
        print(f'{name}: the ROS arguments cannot be used: {_first_line(error)}', file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    nodes: Sequence[StreamNode] = ()
    try:
        nodes = build()
        _complain_of_strangers(nodes)
        executor = make_executor()
        for node in nodes:
            executor.add_node(node)
        for node in nodes:
            if not stop.is_set():
                node.autostart()
        while not stop.is_set() and all(node.exit_code is None for node in nodes):
            # Not spin(): between the calls Python sees signals, and a wait without end never returns from the
            # EventsExecutor of Kilted.
            executor.spin_once(timeout_sec=_SPIN_S)
        return next((node.exit_code for node in nodes if node.exit_code is not None), 0)
    except DedelayedError as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 2
    finally:
        for node in nodes:
            node.close()  # all threads end before any node is taken apart
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()


def _complain_of_strangers(nodes: Sequence[StreamNode]) -> None:
    """Tell once about each parameter that no node has.

    A ``-p`` or a ``/**`` section of a file reaches every node, so a name that any of our nodes has is no mistake.
    """
    everywhere = {name for settings in NODES.values() for name in parameters.specs(settings)}
    told: set[str] = set()
    for node in nodes:
        for name in node.strangers:
            if name not in everywhere and name not in told:
                told.add(name)
                known = {spec for other in nodes if name in other.strangers for spec in other.specs}
                node.complain(parameters.unknown(name, known))


def let_images_fit() -> None:
    """Give Fast DDS shared memory that holds an image, unless the user has a profile of their own."""
    old = os.environ.get('ROS_DISTRO') in ('humble', 'iron', 'jazzy')  # Fast DDS 2
    names = ['FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE']
    if not any(name in os.environ for name in names):
        os.environ[names[0 if old else 1]] = str(Path(__file__).with_name('fastdds.xml'))


def make_executor() -> Executor:
    """The executor of events where rclpy has it (a third of the processor time), otherwise the one of wait sets."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor()
    return EventsExecutor()


@contextmanager
def _overriding(topic: str) -> Iterator[None]:
    """QoS that was given as parameters may be wrong, which rclpy tells by a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f'the QoS overrides of the topic {topic} cannot be used: {error}. Expected reliability: reliable or '
            'best_effort, history: keep_last or keep_all, depth: a whole number'
        ) from error


def _copy(qos: QoSProfile) -> QoSProfile:
    """Overrides are written into the profile that is passed."""
    return QoSProfile(history=qos.history, depth=qos.depth, reliability=qos.reliability, durability=qos.durability)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
