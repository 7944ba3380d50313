"""dps_node: camera streams in, panoptic labels, depth, points and instances out. Lifecycle and wiring.

The way of a frame stands in `pipeline`; here: Inputs of each Camera -> one Worker (latest frame of each camera only, a
thread for each stage of the Pipeline) -> Outputs of that Camera.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Trigger

from ..errors import BackendError, ConfigError, DpsError
from ..inference.backends.base import Progress
from ..inference.backends.registry import availability
from ..inference.predictor import Predictor
from .camera import Camera
from .cameras import Cameras
from .decode import Decoder
from .diagnostics import ModelHealth, diagnostic_array
from .memory import search_all_again, spare_what_is_there
from .parameters import KINDS, Parameters, changed, declare
from .pipeline import Decoded, Job, LoadPredictor, Pipeline, Predicted, load_predictor
from .recovery import Recovery
from .switching import GONE, SWITCHED, Outcome, Switcher, named, validate, wish
from .throttle import Throttle
from .worker import Counts, Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
DRAIN_S = 30.0


class DpsNode(LifecycleNode):
    """The lifecycle node; see the README for its topics, services and parameters.

    Args:
        load: makes a Predictor; another one is given in tests.
        node_args: as for rclpy's Node.

    Raises:
        ConfigError: unknown or invalid parameters.
    """

    def __init__(self, load: LoadPredictor = Predictor.load, **node_args: Any) -> None:
        super().__init__("dps", **node_args)
        self._load = load
        self._worker: Worker[Job] | None = None
        self._pipeline: Pipeline | None = None
        self._running: Parameters | None = None
        self.health = ModelHealth()
        self._switcher = Switcher(self._build, self._swap, self._on_switched, self._progress, self.health)
        self._recovery = Recovery(self._load_again, self.health)
        try:
            self._values = declare(self, self._parameter_overrides)
        except ConfigError:
            self.destroy_node()
            raise
        self._cameras = Cameras(
            self, self._values, self._on_frame, Throttle(self.get_logger().warning), self._counts, self._drain,
            lambda: self.state,
        )  # fmt: skip
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(Trigger, "~/reload_model", self._on_reload_model)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._values.diagnostics_period, self._publish_diagnostics, clock=steady)
        if self._values.autostart:
            self._autostart = self.create_timer(0.001, self._start, clock=steady)

    @property
    def cameras(self) -> list[Camera]:
        """All of them, in the order of the parameter."""
        return self._cameras.all

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the topics, load the model, warm it up; a failure leaves nothing behind and says why."""
        self.health.failure = ""
        parameters = self._values

        def infer(decoded: Sequence[Decoded]) -> list[Predicted]:
            predicted = pipeline.infer(decoded)
            self._recovery.run_succeeded()
            return predicted

        try:
            decoder = Decoder()
            self._cameras.open(parameters, decoder)
            stages: dict[str, Callable[[Any], Any]] = {
                "decode": lambda job: pipeline.decode(job),
                "network": infer,
                "publish": lambda predicted: pipeline.publish(predicted),
            }
            worker = self._worker = Worker(
                stages, self._on_error, "network", lambda: pipeline.alone(), "network", lambda: pipeline.together()
            )
            predictor = worker.call(lambda: self._build(parameters, self._progress)).result()
        except (DpsError, OSError, RuntimeError) as error:
            self.health.failure = str(error)
            self.get_logger().error(f"configure failed: {error}")
            self._release()
            return FAILURE
        except Exception:  # rclpy would swallow it
            self.get_logger().error(f"configure failed:\n{traceback.format_exc()}")
            raise
        self._running, self.health.switch_error = parameters, ""
        self._recovery.run_succeeded()
        pipeline = self._pipeline = Pipeline(
            predictor,
            self._values,
            self.health,
            lambda: int(self.get_clock().now().nanoseconds),
        )
        self._announce()
        spare_what_is_there()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        result = super().on_activate(state)
        self._cameras.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; frames in work are still published."""
        self._cameras.pause()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and remove the topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state; what is being built beside it, too."""
        self._cameras.pause()
        self._release()
        if not self._switcher.close(DRAIN_S):
            self.get_logger().error(f"the model that is being built was not ready within {DRAIN_S:g} s")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything and go back to unconfigured."""
        self._cameras.pause()
        self._release()
        return SUCCESS

    def _start(self) -> None:
        self.destroy_timer(self._autostart)
        if self.state == "unconfigured" and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def _counts(self, camera: str) -> Counts:
        return self._worker.counts(camera) if self._worker is not None else Counts()

    def _drain(self, camera: str | None) -> None:
        if self._worker is not None and not self._worker.drain(DRAIN_S, camera):
            self.get_logger().error(f"the frames in work did not end within {DRAIN_S:g} s")

    def _release(self) -> None:
        self._switcher.give_up()
        worker, pipeline = self._worker, self._pipeline
        self._worker = self._pipeline = self._running = None
        if worker is not None:
            if pipeline is not None:
                worker.call(lambda: pipeline.predictor.close())
            worker.close(DRAIN_S)
        self._cameras.close()
        search_all_again()

    # Frames

    def _on_frame(self, camera: Camera, image: Any, camera_info: Any) -> None:
        if self._worker is not None and camera.line is not None:
            self._worker.submit(Job(camera, camera.line, image, camera_info), camera.name)

    def _on_error(self, error: Exception, source: str) -> None:
        text = str(error)
        if not isinstance(error, DpsError):
            text = "".join(traceback.format_exception(error)).rstrip()
        if isinstance(error, BackendError):
            self._recovery.run_failed()
        self._cameras.frame_failed(source, error, text)

    def _load_again(self) -> None:
        running = self._running
        if running is not None:
            self.get_logger().error(f"{self.health.failed_runs} runs in a row failed; loading {named(running)} again")
            self._switcher.ask(running)

    # Parameters and services

    def _on_set_parameters(self, new: list[Any]) -> SetParametersResult:
        values = {p.name: p.value for p in new if p.name in KINDS}
        try:
            parameters = changed(self._values, values)
            switch = wish(parameters) != wish(self._values)
            if switch:
                validate(parameters)
            elif self._pipeline is not None and parameters.no_point_names != self._values.no_point_names:
                parameters.check_classes(self._pipeline.predictor.model.label_space)
        except DpsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        old, self._values = self._values, parameters
        self._cameras.use(parameters)
        if self._pipeline is not None:
            self._pipeline.parameters = parameters
            if old.thresholds != parameters.thresholds:
                self._announce()
        if switch and self._pipeline is not None and not self._runs(parameters):
            self._switcher.ask(parameters)
        return SetParametersResult(successful=True)

    def _runs(self, parameters: Parameters) -> bool:
        """True where the running model is what these ask for, and nothing else is about to take its place."""
        return self._running is not None and wish(parameters) == wish(self._running) and not self.health.switching_to

    async def _on_reload_model(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is None:
            response.success, response.message = False, f"the node is {self.state}; configure it first"
            return response
        done: Future = Future(executor=self.executor)
        self._switcher.ask(self._values).add_done_callback(lambda ended: done.set_result(ended.result()))
        outcome = await done
        assert isinstance(outcome, Outcome)
        response.success = not outcome.failure
        loaded = self._pipeline.predictor.model.model_id if self._pipeline else ""
        response.message = outcome.failure or f"loaded {loaded}"
        return response

    # Models: built on the switcher's thread (at configure on the worker's), swapped on the worker's

    def _build(self, parameters: Parameters, progress: Progress) -> Predictor:
        availability()  # imports all runtimes now: an import stops every thread, also that of a running model
        return load_predictor(parameters, self._load, progress)

    def _progress(self, text: str) -> None:
        self.get_logger().info(text)

    def _swap(self, predictor: Predictor, parameters: Parameters) -> Predictor:
        worker, pipeline = self._worker, self._pipeline

        def swap() -> Predictor:
            if pipeline is None or pipeline is not self._pipeline:
                raise BackendError(GONE)
            old, pipeline.predictor, self._running = pipeline.predictor, predictor, parameters
            return old

        try:
            return worker.call(swap).result() if worker is not None else swap()
        except RuntimeError as error:  # the worker was closed meanwhile
            raise BackendError(f"{GONE} ({error})") from error

    def _on_switched(self, outcome: Outcome) -> None:
        if self.executor is None:
            self._conclude(outcome)
        else:  # parameters belong to the executor's thread
            self.executor.create_task(self._conclude, outcome)

    def _conclude(self, outcome: Outcome) -> None:
        if not outcome.failure:
            self._announce()
            self.get_logger().info(f"switched to {named(outcome.parameters)} after {outcome.seconds:.1f} s")
            return
        goes_on = f"; {named(self._running)} goes on" if self._running is not None else ""
        self.get_logger().error(f"switch to {named(outcome.parameters)} failed{goes_on}: {outcome.failure}")
        if self._running is not None and wish(self._values) == wish(outcome.parameters):
            # Parameters say what runs, and their event tells everybody that it is the old model again.
            self.set_parameters([Parameter(name, value=getattr(self._running, name)) for name in SWITCHED])

    # What others see

    def _announce(self) -> None:
        if self._pipeline is not None:
            predictor = self._pipeline.predictor
            self._cameras.announce(predictor.model, self._values)
            about = ", ".join(f"{key} {value}" for key, value in predictor.describe().items())
            self.get_logger().info(about)

    def _publish_diagnostics(self) -> None:
        model = {}
        if self._pipeline is not None:
            predictor = self._pipeline.predictor
            device_mb = predictor.backend.device_bytes() / 2**20
            model = {**predictor.describe(), "device memory [MiB]": f"{device_mb:.0f}"}
        self._diagnostics.publish(
            diagnostic_array(
                self.get_fully_qualified_name(),
                self.get_clock().now().to_msg(),
                self._cameras.situations(),
                self.health,
                model,
            )
        )
