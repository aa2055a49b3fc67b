"""The hosts of a run on a Ray cluster: placed on its machines, waited for, watched, and always ended."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import fedlearn
from fedlearn.errors import ConfigError, FedLearnError, RunError, WorkerLost
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.cluster.host import ActorHost, Enrolled
from fedlearn.federation.cluster.relay import address_of
from fedlearn.federation.environment import ONE_THREAD, cluster_address
from fedlearn.federation.failure import Failure
from fedlearn.federation.host import DEFAULT_SETTLE
from fedlearn.secagg.roster import Roster

RESIDENTS_FILE = "residents.json"
JOIN_SECONDS = 120.0
READY_SECONDS = 300.0

_AT_A_TIME = 2  # threads of a host: one answers, one stays
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Node:
    """One of the cluster's nodes.

    Attributes:
      id: Ray's name for it.
      address: its IP address.
      cores: CPUs that Ray counts there.
    """

    id: str
    address: str
    cores: int

    @classmethod
    def all(cls) -> list[Node]:
        """Returns the nodes that are alive, by address."""
        found = [
            cls(
                id=node["NodeID"],
                address=node["NodeManagerAddress"],
                cores=int(node["Resources"].get("CPU", 0)),
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
        return sorted(found, key=lambda node: (node.address, node.id))


def places(nodes: Sequence[Node], clients: int) -> list[Node]:
    """Returns where hosts go: one per core, and no more than clients; nodes take turns.

    >>> big, small = Node(id="b", address="", cores=3), Node(id="s", address="", cores=1)
    >>> [node.id for node in places([big, small], 9)]
    ['b', 's', 'b', 'b']
    >>> [node.id for node in places([big, small], 2)]
    ['b', 's']
    """
    most = max((node.cores for node in nodes), default=0)
    turns = (node for core in range(most) for node in nodes if core < node.cores)
    return list(itertools.islice(turns, clients))


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A host on its node.

    Attributes:
      name: of the actor.
      node: where it is.
      clients: who lives in it.
      actor: Ray's handle.
    """

    name: str
    node: Node
    clients: tuple[str, ...]
    actor: Any

    def __str__(self) -> str:
        return f"{self.name} on node {self.node.address} ({self.node.id[:8]})"


class ClusterPool:
    """As many hosts as the cluster has cores, each with its share of the clients; a context manager.

    A host is an actor that takes no CPU of Ray's: Flower reserves them all for its relays, which wait while
    hosts work. Hosts end when the pool is left, and also when this process dies, because it owns them.

    Args:
      told: the run, without keys and without roster: clients make their keys where they live.
      clients: names of all clients.
      logs: folder for ``residents.json``, which says who lives where.
      shared: whether clients keep something in the run directory between rounds.
      settle: ``"package.module:function"`` that makes the clients of an assignment.
      join_seconds: how long Flower may take to join the cluster.
      ready_seconds: how long the hosts may take to load their data.
    """

    def __init__(
        self,
        told: Assignment,
        clients: Iterable[str],
        *,
        logs: Path,
        shared: bool = False,
        settle: str = DEFAULT_SETTLE,
        join_seconds: float = JOIN_SECONDS,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._told = told
        self._clients = sorted(clients)
        self._logs = logs
        self._shared = shared
        self._settle = settle
        self._join_seconds = join_seconds
        self._ready_seconds = ready_seconds
        self._namespace = f"fedlearn-{secrets.token_hex(8)}"
        self._hosts: list[_Placed] = []
        self._lifelines: dict[Any, _Placed] = {}
        self._public: dict[str, bytes] = {}

    @property
    def addresses(self) -> Mapping[str, str]:
        """Client id → address of the actor that it lives in."""
        return {
            client: address_of(namespace=self._namespace, name=host.name)
            for host in self._hosts
            for client in host.clients
        }

    @property
    def roster(self) -> Roster:
        """The identities of all clients."""
        return Roster(version=1, members=self._public)

    def __enter__(self) -> Self:
        """Places the hosts and waits until their clients are there.

        Raises:
          ConfigError: a node has another version of fedlearn.
          RunError: Ray has not joined in time, the cluster has no cores, or a host was not ready in time.
          FedLearnError: what a host raised, with its node.
        """
        _await_ray(self._join_seconds)
        try:
            self._place()
            enrolled = self._of_all(host.actor.enrol.remote(host.clients) for host in self._hosts)
            self._note(enrolled)
            told = msgspec.structs.replace(self._told, roster=self._public)
            options = {"settle": self._settle, "shared": self._shared}
            failures = self._of_all(host.actor.settle.remote(told, **options) for host in self._hosts)
            for host, failure in zip(self._hosts, failures, strict=True):
                if failure is not None:
                    raise _failed_at(host, failure)
            self._lifelines = {host.actor.stay.remote(): host for host in self._hosts}
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self, seconds: float = 0.0) -> None:
        """Raises WorkerLost if a host has ended, or ends within so many seconds: names node and clients."""
        ended, _ = ray.wait(list(self._lifelines), timeout=seconds)
        for lifeline in ended:
            host = self._lifelines[lifeline]
            raise WorkerLost(
                f"{host} has ended, and with it clients {', '.join(host.clients)}; the checkpoint is kept:"
                " --resume goes on with the nodes that are left"
            )

    def close(self) -> None:
        """Ends all hosts; harmless when repeated, and when Ray has ended before."""
        if ray.is_initialized():
            for host in self._hosts:
                ray.kill(host.actor)
        self._hosts.clear()
        self._lifelines.clear()

    def _place(self) -> None:
        nodes = places(Node.all(), len(self._clients))
        if not nodes:
            raise RunError("the Ray cluster has no CPUs: start its nodes with --num-cpus")
        for number, node in enumerate(nodes):
            name = f"host-{number}"
            # Not detached: the actor ends with this process.
            actor = (
                ray.remote(ActorHost)
                .options(
                    name=name,
                    namespace=self._namespace,
                    num_cpus=0,
                    max_concurrency=_AT_A_TIME,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
                    runtime_env={"env_vars": dict(ONE_THREAD)},
                )
                .remote()
            )
            clients = tuple(self._clients[number :: len(nodes)])
            self._hosts.append(_Placed(name=name, node=node, clients=clients, actor=actor))

    def _of_all(self, references: Iterable[Any]) -> list[Any]:
        """Returns what every host answers; raises RunError if one does not."""
        end = time.monotonic() + self._ready_seconds
        answers = []
        for host, reference in zip(self._hosts, list(references), strict=True):
            try:
                answers.append(ray.get(reference, timeout=max(0.0, end - time.monotonic())))
            except ray.exceptions.GetTimeoutError:
                raise RunError(
                    f"{host} was not ready after {self._ready_seconds:g} s; its log is in Ray's session there"
                ) from None
            except ray.exceptions.RayError as error:
                raise RunError(f"{host} did not start: {_first_line(error)}") from None
        return answers

    def _note(self, enrolled: Sequence[Enrolled]) -> None:
        """Keeps the public keys, and writes down who lives where."""
        for host, said in zip(self._hosts, enrolled, strict=True):
            if said.version != fedlearn.__version__:
                raise ConfigError(
                    f"{host} has fedlearn {said.version}, this machine {fedlearn.__version__}: install one"
                    " version everywhere"
                )
            self._public.update(said.public)
        entries = [
            {
                "host": host.name,
                "node": host.node.id,
                "address": host.node.address,
                "machine": said.machine,
                "process": said.process,
                "clients": host.clients,
            }
            for host, said in zip(self._hosts, enrolled, strict=True)
        ]
        self._logs.mkdir(parents=True, exist_ok=True)
        (self._logs / RESIDENTS_FILE).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def _await_ray(seconds: float) -> None:
    """Waits until Flower, which runs in another thread, has joined the cluster.

    Raises:
      RunError: it has not in time, or has stopped.
    """
    end = time.monotonic() + seconds
    while not ray.is_initialized():
        if time.monotonic() >= end or not threading.main_thread().is_alive():
            raise RunError(f"Flower has not joined the Ray cluster at {cluster_address()}; its log says why")
        time.sleep(_POLL_SECONDS)


def _failed_at(host: _Placed, failure: Failure) -> FedLearnError:
    return msgspec.structs.replace(failure, message=f"{host}: {failure.message}").as_error()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
