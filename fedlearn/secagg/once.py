"""What a client gives once in a session, or once for a model: the names of its latches."""

from __future__ import annotations

from dataclasses import dataclass, field

from fedlearn.errors import AlreadyAnswered
from fedlearn.secagg.latches import Latches
from fedlearn.secagg.transcript import View

_STEPS = ("inputs", "agree", "unmask")


@dataclass(frozen=True, kw_only=True)
class Once:
    """A client's latches in one run.

    Attributes:
      latches: the memory behind them.
      run: the run's id.
      repeat_model: whether a second masked input for the same model is given.
    """

    latches: Latches = field(repr=False)
    run: str
    repeat_model: bool

    def check_model(self, model_digest: bytes) -> None:
        """Raises AlreadyAnswered if a masked input for the model was given, and no second one may be."""
        if not self.repeat_model and self.latches.is_closed(self._model(model_digest)):
            raise AlreadyAnswered(
                f"run {self.run!r} had a masked input for this model; a second would tell the"
                " difference of two sums, which may be one client: train with privacy, or allow it by"
                " secure_aggregation.redo_without_dp"
            )

    def close_inputs(self, view: View) -> None:
        """Closes the latches of a masked input: the session's and, unless repeats are given, the model's."""
        self.check_model(view.model_digest)
        self.latches.close(f"inputs|{view.session.hex()}")
        if not self.repeat_model:
            self.latches.close(self._model(view.model_digest))

    def close_agree(self, session: bytes) -> None:
        """Closes the latch of the session's one signature."""
        self.latches.close(f"agree|{session.hex()}")

    def close_unmask(self, session: bytes) -> None:
        """Closes the latch of the session's shares."""
        self.latches.close(f"unmask|{session.hex()}")

    def forget(self, session: bytes) -> None:
        """Lets go of the latches of a session whose secrets are erased, as far as the memory may."""
        self.latches.forget(f"{step}|{session.hex()}" for step in _STEPS)

    def _model(self, model_digest: bytes) -> str:
        return f"model|{self.run}|{model_digest.hex()}"
