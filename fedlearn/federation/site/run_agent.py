"""The agent as a process: everything of value opened, the socket served, a graceful end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

from fedlearn.config import DevicesConfig
from fedlearn.errors import FedLearnError, RunDirectoryError
from fedlearn.federation.site import standing
from fedlearn.federation.site.agent import Agent
from fedlearn.federation.site.config import LEDGER, SiteConfig
from fedlearn.federation.site.data import SiteData
from fedlearn.federation.site.enrolment import Enrolling
from fedlearn.federation.site.identity import Identity
from fedlearn.federation.site.journal import told
from fedlearn.federation.site.participation import device_of
from fedlearn.federation.site.runs import RunBook
from fedlearn.federation.site.socket_service import SocketService, listen, user_and_group
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.messages import MAX_BODY_BYTES
from fedlearn.rounds.transport import Lost, Message
from fedlearn.secagg.latches import SqliteLatches

OVERDUE = 75
"""Exit code of an agent that ended itself because a request took longer than the site allows."""


def open_ledger(config: SiteConfig, identity: Identity) -> Ledger:
    """Returns the site's ledger; raises PrivacyError or TamperedMessage if it may not be used."""
    policy = config.policy
    budget = Budget(epsilon=policy.max_epsilon, delta=policy.max_delta, unit=policy.unit)
    return Ledger(
        config.path(config.state) / LEDGER,
        owner=config.site,
        sign=identity.key.sign,
        public=identity.key.public,
        budgets={config.data.id: budget},
    )


def open_agent(config: SiteConfig, *, clock: Callable[[], float] = time.time) -> Agent:
    """Returns the agent with everything that it needs; to be used on the thread that opened it.

    Args:
      config: the site.
      clock: seconds since 1970.

    Raises:
      FedLearnError: what is missing, unsafe or tampered with; nothing is served.
    """
    state = config.path(config.state)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity.load(config)
    device_of(config.limits.device, DevicesConfig())  # raises now rather than in a round
    ledger = open_ledger(config, identity)
    burned = ledger.burn_cut_off()
    if burned:
        told("unfinished releases burned", releases=len(burned))
    enrolling = Enrolling(
        config=config,
        identity=identity,
        data=SiteData(config),
        ledger=ledger,
        latches=SqliteLatches(state / "latches.sqlite"),
        book=RunBook(state / "runs"),
    )
    return Agent(
        site=config.site,
        key=identity.key,
        roster=identity.roster,
        enrolling=enrolling,
        resume=enrolling.resume,
        seen=SqliteLatches(state / "messages.sqlite"),
        clock=clock,
    )


class AgentProcess:
    """Runs an agent until it is told to stop.

    Args:
      config: the site.
      clock: seconds since 1970, by which messages are taken for fresh or old.
    """

    def __init__(self, config: SiteConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._state = config.path(config.state)
        self._agent: Agent | None = None
        self._failure: FedLearnError | None = None
        self._listener: socket.socket | None = None
        self._started = time.time()
        self._stopping = False

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; the message that is being handled is finished first.

        Raises:
          FedLearnError: the agent could not be opened.
        """
        os.umask(0o077)
        self._limit_threads()
        user, group = user_and_group(self._config.link.user)
        service = SocketService(
            self._handle,
            users=frozenset({os.geteuid(), user}),
            max_bytes=MAX_BODY_BYTES + 8 * self._config.policy.max_parameters,
            seconds=self._config.limits.seconds_per_request,
            overdue=self._overdue,
        )
        service.on_worker(self._open).result()
        self._listener = listen(self._config.path(self._config.socket), group=group)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if self._config.metrics_port is not None:
            standing.serve_metrics(self._config.metrics_port, self._metrics)
        self._tell(ready=True)
        told("agent ready", site=self._config.site, pid=os.getpid())
        # accept() in a thread: a signal handler that closes the listener does not interrupt it here
        accepting = threading.Thread(target=service.serve, args=(self._listener,), daemon=True)
        accepting.start()
        while accepting.is_alive():
            accepting.join(0.5)
        service.close()
        self._tell(ready=False)
        told("agent stopped", site=self._config.site)

    def _open(self) -> None:
        self._agent = open_agent(self._config, clock=self._clock)

    def _handle(self, message: Message) -> Message | Lost:
        if self._agent is None:
            raise RuntimeError("the agent is not open")
        answer = self._agent.handle(message)
        if isinstance(answer, Message):  # whoever else sends something costs no write to the disk
            self._tell(ready=True)
        return answer

    def _tell(self, *, ready: bool) -> None:
        counters = {} if self._agent is None else vars(self._agent.counters)
        values = {"ready": ready, "site": self._config.site, "started": self._started, **counters}
        try:
            standing.write(self._state, standing.AGENT, values)
        except RunDirectoryError as error:  # a full disk must not cost an answer that was charged
            told("status not written", error=type(error).__name__, reason=str(error)[:256])

    def _metrics(self) -> dict[str, float]:
        counters = {} if self._agent is None else vars(self._agent.counters)
        numbers = {name: float(value) for name, value in counters.items() if not isinstance(value, str)}
        return {"up": 1.0, "started": self._started, **numbers}

    def _limit_threads(self) -> None:
        import torch

        torch.set_num_threads(self._config.limits.threads)

    def _overdue(self) -> None:
        told("request overdue", seconds=self._config.limits.seconds_per_request)
        os._exit(OVERDUE)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._listener is not None and not self._stopping:
            self._stopping = True
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
