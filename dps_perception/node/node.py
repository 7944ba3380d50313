"""dps_node: a camera stream in, panoptic labels, depth, points and instances out. Lifecycle and wiring.

The way of a frame stands in `pipeline`; here: Inputs -> Worker (latest frame only) -> Pipeline -> Outputs.
"""

from __future__ import annotations

import traceback
from concurrent.futures import Future as ThreadFuture
from threading import Thread
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ..errors import ConfigError, DpsError
from ..inference.predictor import Predictor
from .decode import Decoder
from .diagnostics import Health, Situation, diagnostic_array
from .inputs import Inputs
from .outputs import Outputs
from .parameters import KINDS, changed, declare
from .pipeline import Job, LoadPredictor, Pipeline, load_predictor
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
        self._throttle = Throttle(self.get_logger().warning)
        self._worker: Worker[Job] | None = None
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._failure = ""
        self._reloading = False
        self._enabled = True
        self.health = Health(lambda: self._worker.counts if self._worker else Counts())
        try:
            self._values = declare(self, self._parameter_overrides)
        except ConfigError:
            self.destroy_node()
            raise
        self._inputs = Inputs(self, self._values, self._on_frame, self._warn)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reload_model", self._on_reload_model)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._values.diagnostics_period, self._publish_diagnostics, clock=steady)
        if self._values.autostart:
            self._autostart = self.create_timer(0.001, self._start, clock=steady)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make the topics, load the model, warm it up; a failure leaves nothing behind and says why."""
        self._failure = ""
        parameters = self._values
        try:
            decoder = Decoder()
            self._outputs = Outputs(self, parameters, self._warn)
            worker = self._worker = Worker(self._process, self._on_error)
            predictor = worker.call(lambda: load_predictor(parameters, self._load)).result()
        except (DpsError, OSError, RuntimeError) as error:
            self._failure = str(error)
            self.get_logger().error(f"configure failed: {error}")
            self._release()
            return FAILURE
        except Exception:  # rclpy would swallow it
            self.get_logger().error(f"configure failed:\n{traceback.format_exc()}")
            raise
        self._pipeline = Pipeline(
            predictor,
            decoder,
            self._outputs,
            self._values,
            self.health,
            self._warn,
            lambda: int(self.get_clock().now().nanoseconds),
        )
        self._announce()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe."""
        self.health.reset()
        result = super().on_activate(state)
        if self._enabled:
            self._inputs.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the frame in work is still published."""
        self._pause()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and remove the topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._pause()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything and go back to unconfigured."""
        self._pause()
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

    def _pause(self) -> None:
        self._inputs.stop()
        if self._worker is not None and not self._worker.drain(DRAIN_S):
            self.get_logger().error(f"the frame in work did not end within {DRAIN_S:g} s")

    def _release(self) -> None:
        worker, pipeline, outputs = self._worker, self._pipeline, self._outputs
        self._worker = self._pipeline = self._outputs = None
        if worker is not None:
            if pipeline is not None:
                worker.call(lambda: pipeline.predictor.close())
            worker.close(DRAIN_S)
        if outputs is not None:
            outputs.close()

    # Frames

    def _on_frame(self, image: Any, camera_info: Any) -> None:
        if self._worker is not None:
            self._worker.submit(Job(image, camera_info))

    def _process(self, job: Job) -> None:
        if self._pipeline is not None:
            self._pipeline.process(job)

    def _on_error(self, error: Exception) -> None:
        text = str(error)
        if not isinstance(error, DpsError):
            text = "".join(traceback.format_exception(error)).rstrip()
        self.health.frame_failed(text)
        self._warn(type(error).__name__, f"frame skipped: {text}")

    def _warn(self, kind: str, text: str) -> None:
        if kind == "qos":
            self.health.qos_error = text
        self._throttle(kind, text)

    # Parameters and services

    def _on_set_parameters(self, new: list[Any]) -> SetParametersResult:
        values = {p.name: p.value for p in new if p.name in KINDS}
        try:
            parameters = changed(self._values, values)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        old, self._values = self._values, parameters
        if self._pipeline is not None:
            self._pipeline.parameters = parameters
            if old.thresholds != parameters.thresholds:
                self._announce()
        return SetParametersResult(successful=True)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = bool(request.data)
        if self.state == "active" and self._enabled != self._inputs.started:
            if self._enabled:
                self._inputs.start()
            else:
                self._pause()
        response.success = True
        response.message = f"{'enabled' if self._enabled else 'disabled'}, {self.state}"
        return response

    async def _on_reload_model(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is None or self._reloading:
            response.success = False
            response.message = (
                "a reload is already running" if self._reloading else f"the node is {self.state}; configure it first"
            )
            return response
        self._reloading = True
        done: Future = Future(executor=self.executor)
        Thread(target=lambda: done.set_result(self._reload()), name="dps_reload", daemon=True).start()
        failure = await done
        self._reloading = False
        if self._pipeline is not None and not failure:
            self._announce()
        response.success = not failure
        response.message = failure or f"loaded {self._pipeline.predictor.model.model_id if self._pipeline else ''}"
        return response

    def _reload(self) -> str:
        """Load beside the running model and swap between two frames; return why it failed, or nothing."""
        worker, pipeline, parameters = self._worker, self._pipeline, self._values
        try:
            predictor = load_predictor(parameters, self._load)
        except Exception as error:  # whatever it is, the old model goes on
            self.get_logger().error(f"reload failed, the old model goes on: {error}")
            return str(error)

        def swap() -> None:
            assert pipeline is not None
            old, pipeline.predictor = pipeline.predictor, predictor
            old.close()

        try:
            swapped: ThreadFuture[None] | None = worker.call(swap) if worker is not None else None
            if swapped is not None:
                swapped.result()
                return ""
        except RuntimeError as error:  # the worker was closed meanwhile
            self.get_logger().info(f"reload given up: {error}")
        predictor.close()
        return "the node was cleaned up meanwhile"

    # What others see

    def _announce(self) -> None:
        if self._pipeline is not None and self._outputs is not None:
            model, predictor = self._pipeline.predictor.model, self._pipeline.predictor
            self._outputs.publish_info(model, self._values, self.get_clock().now().to_msg())
            about = ", ".join(f"{key} {value}" for key, value in self._about(predictor).items())
            self.get_logger().info(about)

    def _about(self, predictor: Predictor) -> dict[str, str]:
        height, width = predictor.input_size
        return {
            "model": predictor.model.model_id,
            "backend": predictor.backend_name,
            "device": predictor.device,
            "precision": predictor.precision,
            "input": f"{height}x{width}",
            "weights_sha256": predictor.model.weights_sha256,
        }

    def _publish_diagnostics(self) -> None:
        state = self.state if self._enabled or self.state != "active" else "disabled"
        situation = Situation(
            node=self.get_fully_qualified_name(),
            state=state,
            failure=self._failure,
            image_topic=self._inputs.image_topic,
            camera_info_topic=self._inputs.camera_info_topic,
            transport=self._inputs.transport or "",
            without_camera_info=self._inputs.without_camera_info,
            jumps=self._inputs.jumps,
            model=self._about(self._pipeline.predictor) if self._pipeline else {},
        )
        self._diagnostics.publish(diagnostic_array(self.health, situation, self.get_clock().now().to_msg()))
