"""Agreeing on a run: who would take part, on which terms, and that all have accepted them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fedlearn.errors import PolicyRefusal, RunDirectoryError
from fedlearn.federation import terms
from fedlearn.federation.server.sealed import SealedTransport
from fedlearn.federation.terms import (
    Acceptance,
    Finish,
    Inquiry,
    Proposal,
    Refusal,
    Schema,
    SiteReply,
    SiteRequest,
    Standing,
)
from fedlearn.rounds.checkpoint import write_atomically
from fedlearn.rounds.transport import Lost

TERMS = "terms.msgpack"
FAREWELL_SECONDS = 20.0

_log = logging.getLogger("flwr")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What is asked of the sites.

    Attributes:
      transport: to them.
      run: the run's id.
      experiment: the resolved experiment, as TOML.
      roster: its digest.
      directory: of the run; keeps the terms.
      least: fewest sites that a run begins with.
    """

    transport: SealedTransport
    run: str
    experiment: str
    roster: bytes
    directory: Path
    least: int

    def reach(self, sites: Collection[str]) -> Proposal:
        """Returns the terms that every site of the run has accepted.

        Raises:
          PolicyRefusal: fewer than ``least`` sites take part; says who refused what.
        """
        standings = self._inquire(sites)
        schema = next(iter(standings.values())).schema
        sizes = {site: standing.declared_size for site, standing in sorted(standings.items())}
        proposal = self._proposal(1, sizes, schema)
        refusals = self._propose(proposal, sizes)
        if refusals:
            # Weights and noise derive from the sizes, so the others accepted another run than the one left.
            raise PolicyRefusal(f"{self._told(refusals)}; mend that, or submit again while they are away")
        self._keep(proposal)
        return proposal

    def renew(self, sites: Collection[str]) -> Proposal:
        """Returns the kept terms, proposed again to the sites that are there.

        Raises:
          RunDirectoryError: no terms were kept.
          PolicyRefusal: fewer than ``least`` sites go on.
        """
        kept = self.kept()
        proposal = msgspec.structs.replace(kept, attempt=kept.attempt + 1)
        self._keep(proposal)  # first: an attempt that a site may have seen is never used again
        refusals = self._propose(proposal, [site for site in kept.sizes if site in sites])
        going_on = [site for site in sites if site in kept.sizes and site not in refusals]
        self._check(going_on, refusals)
        return proposal

    def invite(self, site: str) -> bool | None:
        """Returns whether a site has joined the kept terms; None if it did not answer.

        It is asked first and alone: the others hear of it in the next attempt, and of nothing if it refuses.
        """
        kept = self.kept()
        standing = self._asked(site, Inquiry(run=self.run, experiment=self.experiment, roster=self.roster))
        if not isinstance(standing, Standing) or standing.schema != kept.schema:
            return None if isinstance(standing, Lost) else False
        kept = msgspec.structs.replace(kept, attempt=kept.attempt + 1)
        self._keep(kept)
        sizes = dict(sorted({**kept.sizes, site: standing.declared_size}.items()))
        joined = msgspec.structs.replace(kept, sizes=sizes)
        answer = self._asked(site, joined)
        if not isinstance(answer, Acceptance):
            return None if isinstance(answer, Lost) else False
        self._keep(joined)
        _log.info("fedlearn: site %s joins run %s", site, self.run)
        return True

    def _asked(self, site: str, request: SiteRequest) -> SiteReply | Lost:
        answer = self.transport.ask({site: request}).get(site) or Lost(client=site, reason="unreachable")
        if not isinstance(answer, Standing | Acceptance):
            _log.warning("fedlearn: site %s does not join: %s", site, _shown(answer))
        return answer

    def finish(self, sites: Collection[str]) -> None:
        """Tells the sites that the run is over; who does not hear it soon forgets it with its next run."""
        self.transport.ask({site: Finish(run=self.run) for site in sites}, deadline=FAREWELL_SECONDS)

    def kept(self) -> Proposal:
        """Returns the terms of an earlier attempt; raises RunDirectoryError if there are none."""
        try:
            found = terms.decode_request((self.directory / TERMS).read_bytes())
        except OSError:
            raise RunDirectoryError(f"{self.directory} keeps no terms: the run had not begun") from None
        if not isinstance(found, Proposal):
            raise RunDirectoryError(f"{self.directory / TERMS} holds no terms")
        return found

    def _inquire(self, sites: Collection[str]) -> dict[str, Standing]:
        inquiry = Inquiry(run=self.run, experiment=self.experiment, roster=self.roster)
        answers = self.transport.ask({site: inquiry for site in sites})
        standings = {site: one for site, one in answers.items() if isinstance(one, Standing)}
        others = {site: one for site, one in answers.items() if site not in standings}
        self._check(standings, others)
        return standings

    def _propose(self, proposal: Proposal, sites: Collection[str]) -> dict[str, SiteReply | Lost]:
        answers = self.transport.ask({site: proposal for site in sites})
        return {site: one for site, one in answers.items() if isinstance(one, Refusal | Lost)}

    def _check(self, taking_part: Collection[str], others: Mapping[str, SiteReply | Lost]) -> None:
        for site, answer in others.items():
            _log.warning("fedlearn: site %s does not take part: %s", site, _shown(answer))
        if len(taking_part) < self.least:
            raise PolicyRefusal(
                f"{len(taking_part)} sites take part, at least {self.least} are needed; {self._told(others)}"
            )

    def _told(self, others: Mapping[str, SiteReply | Lost]) -> str:
        return "; ".join(f"site {site}: {_shown(answer)}" for site, answer in sorted(others.items()))

    def _proposal(self, attempt: int, sizes: Mapping[str, int], schema: Schema) -> Proposal:
        return Proposal(
            run=self.run,
            attempt=attempt,
            experiment=self.experiment,
            roster=self.roster,
            sizes=dict(sizes),
            schema=schema,
        )

    def _keep(self, proposal: Proposal) -> None:
        write_atomically(self.directory / TERMS, terms.encode(proposal))


def _shown(answer: SiteReply | Lost) -> str:
    return f"no answer ({answer.reason})" if isinstance(answer, Lost) else str(answer)
