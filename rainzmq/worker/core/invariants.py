"""Checks of a worker's whole core. Tests run them after each event; they are too slow for anything else."""

from __future__ import annotations

from collections import Counter

from rainzmq.common.ids import id_of
from rainzmq.worker.core import states
from rainzmq.worker.core.engine import WorkerEngine
from rainzmq.worker.core.pool import PoolCore
from rainzmq.worker.core.records import AssignedTask, Subworker


def check(engine: WorkerEngine) -> None:
    """AssertionError with the entity when the state of the engine contradicts itself."""
    links = Counter(id(reader) for replica in engine.replicas.values() for reader in replica.readers)
    links.update(id(reader) for promise in engine.promised.values() for reader in promise.readers)
    startable = {id(task) for _, _, task in engine.starts.ready}
    for uid, task in engine.tasks.items():
        name = f"task {id_of(uid)}"
        assert task.uid == uid, f"{name} is listed under another's id"
        assert task.state is not states.DROPPED, f"{name} was dropped and is still listed"
        assert links[id(task)] <= task.missing, f"{name} waits for more than the {task.missing} it counts"
        if task.state is states.READY:
            assert id(task) in startable, f"{name} is ready, but not in the heap of those that can start"
        _check_inputs(engine, task, name)
        _check_job(engine, task, name)
    for uid, promise in engine.promised.items():
        maker = promise.maker
        assert engine.tasks.get(maker.uid) is maker, f"object {id_of(uid)} is promised by a task that is gone"
        assert 0 < uid - maker.uid <= len(maker.body.outputs), f"object {id_of(uid)} is not its maker's"
    _check_cpus(engine)


def _check_inputs(engine: WorkerEngine, task: AssignedTask, name: str) -> None:
    replicas = [engine.replicas.get(uid) for uid in task.inputs]
    absent = sum(replica is None or replica.state is not states.STORED for replica in replicas)
    if task.state is states.FETCHING:
        # It may be more: who waited for a fetch that was given up counts it until it is retracted.
        assert task.missing >= absent, f"{name} waits for {task.missing} inputs, {absent} are not here"
        assert task.missing, f"{name} waits for nothing"
    elif task.state is states.READY:
        assert not task.missing, f"{name} is ready and waits for {task.missing} inputs"
        assert not absent, f"{name} is ready, but {absent} of its inputs are not here"


def _check_job(engine: WorkerEngine, task: AssignedTask, name: str) -> None:
    if task.state is states.RUNNING:
        assert task.job is not None, f"{name} runs without a job"
        assert engine.running.get(task.uid) is task.job, f"the job of {name} is not with a runner"
        assert task.job.attempt == task.attempt, f"the job of {name} is of another attempt"
    else:
        assert task.job is None, f"{name} is {task.state} and has a job"


def _check_cpus(engine: WorkerEngine) -> None:
    """Each cpu is free or in one slot, and the users of slots are the jobs that run."""
    cpus = engine.cpus
    taken = [index for slot in cpus.users for index in slot]
    assert len(taken) == len(set(taken)), f"some cpu is given out twice: {sorted(taken)}"
    assert len(taken) + cpus.free == cpus.total, f"{len(taken)} and {cpus.free} cpus are not {cpus.total}"
    users = {uid: slot for slot, uids in cpus.users.items() for uid in uids}
    running = {uid: job.cpus for uid, job in engine.running.items()}
    assert users == running, f"cpus are had by {users}, and {running} runs"
    for slot in engine.starts.followers:
        assert cpus.is_used(slot), f"tasks follow makers on the cpus {slot}, where nothing runs"


def check_pool(pool: PoolCore) -> None:
    """AssertionError with the subworker or job when the state of the pool contradicts itself."""
    homes: dict[int, Subworker] = {}
    starting: Counter[str] = Counter()
    for number, subworker in pool.subworkers.items():
        name = f"subworker {number}"
        assert subworker.number == number, f"{name} is listed under another's number"
        starting[subworker.kind] += not subworker.ready
        assert subworker.ready or not subworker.queue, f"{name} has jobs before it said hello"
        homes.update({job.uid: subworker for job in (*subworker.queue, *subworker.parked)})
        rests = subworker.ready and not subworker.dying and not subworker.queue
        is_idle = number in pool.idle.get(subworker.kind, {})
        assert is_idle == rests, f"{name}: idle is {is_idle}, and it has {len(subworker.queue)} jobs"
        works = bool(subworker.queue and subworker.cpus and not subworker.dying)
        is_busy = pool.busy_on.get(subworker.cpus) is subworker
        assert is_busy == works, f"{name}: busy on {subworker.cpus} is {is_busy}"
    assert pool.homes.keys() == homes.keys(), f"jobs {pool.homes.keys() ^ homes.keys()} are in one place only"
    for uid, subworker in homes.items():
        assert pool.homes[uid] is subworker, f"job {id_of(uid)} is not with the subworker it is listed at"
    waiting = {job.uid for batches in pool.waiting.values() for batch in batches for job in batch}
    assert not waiting & homes.keys(), f"jobs {waiting & homes.keys()} wait, and have a subworker"
    moved = pool.moves.keys() - waiting - homes.keys()
    assert not moved, f"jobs {moved} are gone, but not what was counted of them"
    assert +Counter(pool.starting) == +starting, f"{pool.starting} counted, {starting} start"
    for kind, batches in pool.waiting.items():
        assert len(batches) <= starting[kind], f"{len(batches)} wait for {starting[kind]} that start: {kind}"
