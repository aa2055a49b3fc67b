"""How a site decides on what it is asked to take part in."""

from __future__ import annotations

from dataclasses import dataclass

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError
from fedlearn.experiment.cohorts import cohort_size
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.data import SiteData
from fedlearn.federation.site.forecast import forecast
from fedlearn.federation.site.identity import Identity
from fedlearn.federation.site.participation import Participation, device_of, setup_of
from fedlearn.federation.site.policy import Breach, Case, judge
from fedlearn.federation.site.runs import RunBook
from fedlearn.federation.terms import Inquiry, Proposal, Refusal, Standing
from fedlearn.privacy.ledger import Ledger
from fedlearn.secagg.latches import Latches


@dataclass(frozen=True, kw_only=True)
class Enrolling:
    """Decides on inquiries and proposals by the site's policy.

    Attributes:
      config: the site.
      identity: its key and roster.
      data: its records.
      ledger: what they have spent.
      latches: what it has answered.
      book: runs accepted before.
    """

    config: SiteConfig
    identity: Identity
    data: SiteData
    ledger: Ledger
    latches: Latches
    book: RunBook

    def standing(self, inquiry: Inquiry) -> Standing | Refusal:
        """Returns what the site holds, or why it would not take part; nothing is kept."""
        try:
            config = ExperimentConfig.from_toml_text(inquiry.experiment)
            breach = judge(self._case(config, roster=inquiry.roster))
            if breach is not None:
                return _refusal(inquiry.run, breach)
            held = self.data.held(config)
        except ConfigError as error:
            breach = Breach(rule="experiment", asked=str(error)[:256], allowed="what can be read")
            return _refusal(inquiry.run, breach)
        return Standing(run=inquiry.run, declared_size=held.declared_size, schema=self.data.schema)

    def accept(self, proposal: Proposal) -> Participation | Refusal:
        """Returns the site's part in the run, or why it takes none; the acceptance is on disk."""
        try:
            config = ExperimentConfig.from_toml_text(proposal.experiment)
            breach = judge(self._case(config, roster=proposal.roster)) or self._known_run(proposal)
            if breach is None:
                breach = self._members(proposal)
            if breach is not None:
                return _refusal(proposal.run, breach)
            setup = self._setup(proposal)
            breach = judge(self._full_case(config, proposal, setup))
        except ConfigError as error:
            breach = Breach(rule="experiment", asked=str(error)[:256], allowed="what can be set up")
        if breach is not None:
            return _refusal(proposal.run, breach)
        self.book.keep(proposal)
        return self._participation(proposal, setup)

    def resume(self, run: str) -> Participation | None:
        """Returns the site's part in a run that it accepted before a restart; None if it did not.

        Raises:
          FedLearnError: the run cannot be set up any more.
        """
        proposal = self.book.find(run)
        if proposal is None or proposal.roster != self.identity.roster.digest:
            return None
        setup = self._setup(proposal)
        if judge(self._full_case(setup.experiment.config, proposal, setup)) is not None:
            return None
        return self._participation(proposal, setup)

    def _setup(self, proposal: Proposal) -> RunSetup:
        return setup_of(
            proposal,
            site=self.config.site,
            data=self.data,
            identity=self.identity,
            memory=self.config.path(self.config.state) / "memory",
        )

    def _participation(self, proposal: Proposal, setup: RunSetup) -> Participation:
        return Participation(
            proposal,
            setup,
            site=self.config.site,
            identity=self.identity,
            dataset=self.config.data.id,
            ledger=self.ledger,
            latches=self.latches,
            device=device_of(self.config.limits.device, setup.experiment.config.devices),
        )

    def _case(self, config: ExperimentConfig, *, roster: bytes) -> Case:
        return Case(
            config=config,
            policy=self.config.policy,
            served=tuple(self.config.served),
            rosters=(roster, self.identity.roster.digest),
        )

    def _known_run(self, proposal: Proposal) -> Breach | None:
        """A run keeps its terms but for sites that join, and each attempt at it is a later one."""
        before = self.book.find(proposal.run)
        if before is None:
            return None
        if not proposal.continues(before):
            return Breach(rule="run", asked="other terms under the same run id", allowed="the accepted terms")
        if proposal.attempt <= before.attempt:
            return Breach(rule="attempt", asked=str(proposal.attempt), allowed=f"more than {before.attempt}")
        return None

    def _members(self, proposal: Proposal) -> Breach | None:
        strange = [name for name in proposal.sizes if name not in self.identity.roster.members]
        if strange or self.config.site not in proposal.sizes:
            asked = f"site {strange[0]}" if strange else "a run without this site"
            return Breach(rule="sites", asked=asked[:128], allowed="sites of the roster, this one among them")
        return None

    def _full_case(self, config: ExperimentConfig, proposal: Proposal, setup: RunSetup) -> Case:
        population = setup.experiment.population
        held = population.clients[self.config.site]
        first = self.book.find(proposal.run) is None
        return Case(
            config=config,
            policy=self.config.policy,
            served=tuple(self.config.served),
            cohort=cohort_size(config, population),
            survivors=_fewest_survivors(setup),
            rosters=(proposal.roster, self.identity.roster.digest),
            sizes=(proposal.sizes[self.config.site], held.declared_size),
            schemas=(proposal.schema, self.data.schema),
            parameters=setup.experiment.count_parameters(),
            # A run that goes on was weighed when it began; the ledger weighs each of its rounds.
            epsilon=forecast(setup, self.config.site, ledger=self.ledger, dataset=self.config.data.id)
            if first
            else None,
        )


def _fewest_survivors(setup: RunSetup) -> int | None:
    """Returns the fewest sites in any sum of the run, those before its first round too; None in clear."""
    statistics = None if setup.statistics is None else setup.statistics.secure
    stages = [stage.secure for stage in setup.stages]
    sums = [secure for secure in (setup.secure, statistics, *stages) if secure is not None]
    return min((secure.parameters.min_survivors for secure in sums), default=None)


def _refusal(run: str, breach: Breach) -> Refusal:
    return Refusal(run=run, rule=breach.rule, asked=breach.asked, allowed=breach.allowed)
