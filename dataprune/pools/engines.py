"""Where tasks run: factories of `concurrent.futures.Executor`, each called with (workers, address).

`--engine` names one of these functions, or the dotted path of one of yours. Ray and Dask restart tasks whose worker
has died; a task that runs twice writes the same part.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from dataprune.errors import ConfigError
from dataprune.executors.remote import RayTasks, SlurmJobs, extra

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@contextmanager
def local(workers: int, address: str | None = None) -> Iterator[Executor]:
    """Open processes of this machine, started afresh; they end with this one, however it ends."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(THREADS)  # libraries look when they are loaded, so before the workers are
    try:
        context = get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as executor:
            yield executor
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)  # an executor's worker waits for work for ever, also when there is nobody left to give any

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def ray(workers: int, address: str | None = None) -> Iterator[Executor]:
    """Join a Ray cluster (address, or the one that RAY_ADDRESS or `ray start` tell of), or start one of `workers`."""
    ray: Any = extra("ray", "ray-tasks", "--engine")
    if ray.is_initialized():  # the program that calls us has joined one
        yield RayTasks(ray, num_cpus=1)
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    runtime = {"env_vars": THREADS | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
    try:
        ray.init(address=address or "auto", runtime_env=runtime, **options)
    except ConnectionError:
        if address is not None:
            raise ConfigError("--address", address, "the address of a Ray cluster that runs") from None
        ray.init(num_cpus=workers, include_dashboard=False, runtime_env=runtime, **options)
    try:
        yield RayTasks(ray, num_cpus=1)
    finally:
        ray.shutdown()


@contextmanager
def dask(workers: int, address: str | None = None) -> Iterator[Executor]:
    """Join the Dask scheduler at `address`, or start one of `workers` processes."""
    distributed: Any = extra("distributed", "dask", "--engine")
    with contextlib.ExitStack() as stack:
        if address is None:
            options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None, "silence_logs": 50}
            address = stack.enter_context(distributed.LocalCluster(n_workers=workers, **options))
        client = stack.enter_context(distributed.Client(address))
        yield client.get_executor(pure=False, retries=2)


@contextmanager
def slurm(workers: int, address: str | None = None) -> Iterator[Executor]:
    """Submit a job a share of the tasks; address: options of submitit, "partition=cpu,timeout_min=600"."""
    submitit: Any = extra("submitit", "slurm", "--engine")
    words = [word.partition("=") for word in (address or "").split(",") if word]
    jobs = submitit.AutoExecutor(folder=".submitit", cluster=next((v for k, _, v in words if k == "cluster"), "slurm"))
    given = {name: int(value) if value.isdigit() else value for name, _, value in words if name != "cluster"}
    jobs.update_parameters(**({"cpus_per_task": 1, "timeout_min": 24 * 60} | given))
    with SlurmJobs(jobs) as executor:
        executor.chunks = workers  # type: ignore[attr-defined]
        yield executor
