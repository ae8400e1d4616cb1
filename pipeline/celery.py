"""The Celery app: SQL is the truth and a message only a hint, and each option that surprises says why."""

from __future__ import annotations

import gc
import pkgutil
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery, signals
from kombu.entity import Exchange, Queue

from pipeline import log
from pipeline.adapters import flower
from pipeline.errors import DefinitionError, PipelineError
from pipeline.services import priorities
from pipeline.settings import Settings, settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

QUEUES = ("default", "render", "deliver")
# RabbitMQ keeps messages apart by priority only in queues that say so; Redis does by itself (priority_steps).
HIGHEST = 9
EXCHANGE = "pipeline"
# Seconds: soft, then hard. Below the visibility timeout, or a second worker would be given the same message.
TIME_LIMITS = (840, 900)
# Seconds from a schedule's own soft limit to the hard one.
HARD_AFTER = 10
VISIBILITY_TIMEOUT = 3600


def options(configured: Settings) -> dict[str, Any]:
    """Celery's options for these settings."""
    return {
        "broker_url": configured.broker_url,
        "result_backend": configured.result_url,
        "broker_transport_options": _transport(configured.broker_url),
        "broker_connection_retry_on_startup": True,  # parts may start in any order
        "broker_connection_max_retries": None,  # the default of 100 ends the worker
        "broker_pool_acquire_timeout": 10,
        "redis_socket_timeout": 30,
        "redis_socket_keepalive": not configured.result_url.startswith("redis+socket"),  # a file has none: TypeError
        "redis_backend_health_check_interval": 25,
        "redis_retry_on_timeout": True,
        # Without it a blink of Redis turns a step that succeeded into an error; bounded, since the default is for ever.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 60,
        "result_expires": 86400,
        "result_chord_expires": 7 * 86400,  # a chord's counter must outlive the longest run
        "result_extended": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,  # at least once; the claim in SQL makes it once
        # Not requeued by Celery: a step that kills its worker would be given to the next one at once, for ever.
        "task_reject_on_worker_lost": False,
        "task_track_started": True,
        "task_store_errors_even_if_ignored": True,
        "task_soft_time_limit": TIME_LIMITS[0],
        "task_time_limit": TIME_LIMITS[1],
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "task_default_queue": "default",
        # Bound by their names: another application's worker calls back by exchange, knowing nothing of our queues.
        "task_queues": [_queue(name, configured) for name in QUEUES],
        # Somebody waits for these; RabbitMQ takes last what says no priority.
        "task_routes": {"run.*": {"queue": "default", "priority": priorities.for_broker(0, configured.broker_url)}},
        "task_create_missing_queues": False,  # a typo in a queue's name must fail, not vanish
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "task_allow_error_cb_on_chord_header": True,  # the one error path reaches header steps too
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 200,
        "worker_max_memory_per_child": 600_000,  # KiB, looked at between tasks: WeasyPrint's memory never shrinks
        # Running steps are guarded by their fence; killing PDFs and mails half-way at every blink is worse.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_proc_alive_timeout": 30,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
        "enable_utc": True,
        "beat_scheduler": "pipeline.beat:SqlScheduler",
        "beat_max_loop_interval": 1,
        "beat_enable_remote_control": True,
    }


def _queue(name: str, configured: Settings) -> Queue:
    # Quorum queues know no priorities.
    quorum: dict[str, Any] = {"queue_arguments": {"x-queue-type": "quorum"}}
    kind = quorum if configured.rabbitmq_queues == "quorum" else {"max_priority": HIGHEST}
    return Queue(name, Exchange(EXCHANGE), routing_key=name, **kind)  # type: ignore[no-untyped-call]  # kombu types it not


def _transport(broker_url: str) -> dict[str, Any]:
    if broker_url.startswith("amqp"):
        return {"confirm_publish": True}
    shared = {
        "visibility_timeout": VISIBILITY_TIMEOUT,
        # Looked for every 10 s rather than about every 100 s.
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 5,
    }
    if broker_url.startswith("redis+socket"):
        return shared
    return {**shared, "socket_timeout": 30, "socket_keepalive": True, "health_check_interval": 25}


def _configured() -> Settings:
    try:
        return settings()
    except DefinitionError as error:
        if "celery" in Path(sys.argv[0]).parts[-2:]:  # its command line would print a traceback
            raise SystemExit(str(error)) from error
        raise


app = Celery("pipeline")
app.conf.update(options(_configured()))
app.conf.imports = ("pipeline.tasks", "pipeline.shutdown")
if "flower" in sys.argv and (said := flower.lock(settings(), sys.argv)):
    print(said, file=sys.stderr)  # noqa: T201 - Celery's command line, which tells nobody else


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log.configure(settings())


@signals.worker_process_init.connect
@signals.worker_ready.connect
def _settle_memory(**_: Any) -> None:
    """What was imported stays: to look through it for garbage would hold up a step for a tenth of a second.

    A pool's process has it from the worker's, and shares its memory as long as nothing writes to it.
    """
    gc.freeze()


@signals.worker_ready.connect
def _look_again(**_: Any) -> None:
    """A worker that starts may bring settings that end a block, or other rates: what waits for that looks again."""
    from pipeline.db import clock, transaction
    from pipeline.services import blocks, shares

    try:
        with transaction(durable=False) as session:
            blocks.look_again(session, clock(session))
            shares.look_again(session, clock(session))
    except Exception as error:  # noqa: BLE001 - the worker works without; it looks by itself a quarter of an hour later
        log.get(__name__).warning("what waits could not be told that a worker has started", error=str(error))


@signals.task_unknown.connect
def _say_unknown(name: str, id: str, sender: Any = None, **_: Any) -> None:  # noqa: A002 - the signal's own words
    """Celery throws such a message away and tells nobody: the step would wait, and be published, for ever."""
    from pipeline.services import steps

    worker = getattr(sender, "hostname", "") or ""
    _tell(id, name, lambda session: steps.not_known(session, UUID(id), name, worker))


@signals.task_revoked.connect
def _say_revoked(request: Any, *, terminated: bool, **_: Any) -> None:
    """So it does here, for hours. Who was terminated has given its step back by itself."""
    from pipeline.services import steps

    worker = request.hostname or ""
    if not terminated:
        _tell(request.id, request.task, lambda session: steps.revoked(session, UUID(request.id), worker))


def _tell(task_id: str, name: str, tell: Callable[[Session], None]) -> None:
    """Write down what became of a message that a worker has thrown away."""
    from pipeline.db import transaction

    try:
        with transaction(durable=False) as session:
            tell(session)
    except Exception as error:  # noqa: BLE001 - the worker goes on; the message comes again, and with it this
        log.get(__name__).warning(
            "a message that was thrown away could not be told", task=name, id=task_id, error=str(error)
        )


@signals.celeryd_init.connect
def _check_pool(options: Mapping[str, Any], **_: Any) -> None:
    """Green threads share one that WeasyPrint, or a database's driver, holds for seconds: no lease would be renewed."""
    name = getattr(options.get("pool"), "__module__", "").rpartition(".")[2]
    if name in {"gevent", "eventlet"}:
        raise SystemExit(f"-P {name}: steps need processes or threads of their own; leave -P out, or say -P threads")
    if options.get("pool_start_method") == "spawn":
        raise SystemExit("--pool-start-method spawn: a process that is not forked knows no workflow; leave it out")


@signals.celeryd_init.connect
def _load_workflows(**_: Any) -> None:
    """Only a worker knows workflows; beat opens runs without them. It stores files, too."""
    from pipeline.adapters import storage

    try:
        storage.store()
        load_workflows()
    except PipelineError as error:
        raise SystemExit(str(error)) from error
    except Exception as error:  # a signal's receiver would be logged and passed over: such a worker must not start
        raise SystemExit(f"the worker cannot load its workflows: {type(error).__name__}: {error}") from error
    for sentence in broken_workflows.values():
        log.get(__name__).error("workflow file refused", error=sentence)


@signals.celeryd_init.connect
def _try_key(**_: Any) -> None:
    """A key that signs no message is told now, not when the first one is to go out."""
    from pipeline.adapters.messages import configured_signer

    try:
        configured_signer(settings())
    except DefinitionError as error:
        raise SystemExit(str(error)) from error


# Why a file of the home's workflows/ could not be imported, by its name; the others go on.
broken_workflows: dict[str, str] = {}


def load_workflows() -> None:
    """Import every module of pipeline.workflows and of the home's workflows/: their steps become tasks."""
    import_module("pipeline.tasks")
    package = import_module("pipeline.workflows")
    for module in pkgutil.iter_modules(package.__path__, "pipeline.workflows."):
        import_module(module.name)
    broken_workflows.clear()
    for path in sorted((settings().home / "workflows").glob("*.py")):
        try:
            _import_file(path)
        except Exception as error:  # noqa: BLE001 - a team's own code may raise anything
            broken_workflows[path.name] = (
                f"workflows/{path.name}{_line(error, path)} cannot be imported: {type(error).__name__}: {error}"
            )


def _import_file(path: Path) -> None:
    name = f"workflows.{path.stem}"
    specification = spec_from_file_location(name, path)
    if name in sys.modules or specification is None or specification.loader is None:
        return
    sys.modules[name] = module = module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _line(error: Exception, path: Path) -> str:
    """Where in the file it went wrong, as `:3`."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.filename == str(path) else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""
