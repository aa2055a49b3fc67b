"""The last step of a run: everything that its directory keeps."""

from __future__ import annotations

import json

from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.assessment import metrics_of_clients
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.execution import Course
from fedlearn.runs.holdings import HOLDINGS_FILE, holdings_of
from fedlearn.runs.report import Material, report_page
from fedlearn.runs.result import Baselines, Personalisation, Result
from fedlearn.runs.signature import SIGNATURE_FILE, signature_of
from fedlearn.runs.statement import Statement, receipts_of, statement_of
from fedlearn.runs.statement_page import statement_page
from fedlearn.runs.summary import Engine, result_of


def finish(
    setup: RunSetup,
    course: Course,
    directory: RunDirectory,
    *,
    engine: Engine,
    setup_seconds: float,
    baselines: Baselines,
) -> Result:
    """Writes model, result, privacy statement and report, and returns the result.

    Raises:
      RunDirectoryError: the folder is not writable or the disk is full; the checkpoint stays.
    """
    model = setup.experiment.build_model()
    per_client = metrics_of_clients(setup, model, course.model, completed=course.completed)
    model.load(setup.kept.whole(course.model))
    result = result_of(
        setup,
        course,
        engine=engine,
        setup_seconds=setup_seconds,
        per_client=per_client,
        baselines=baselines,
    )
    directory.write_model(setup.experiment.whole_state(model))
    if (signature := signature_of(setup.experiment)) is not None:
        directory.write(SIGNATURE_FILE, signature.model_dump_json(indent=2) + "\n")
    write_statement(directory, statement_of(setup, course))
    directory.write("receipts.json", json.dumps(receipts_of(setup, course), indent=2) + "\n")
    if engine != "sites":
        holdings = holdings_of(setup.experiment.population)
        directory.write(HOLDINGS_FILE, holdings.model_dump_json(indent=2) + "\n")
    if engine != "inprocess":
        # A simulation in one program is amended at once, and reported then: a page takes half a second.
        directory.write("report.html", report_page(Material.read(directory, result)))
    directory.write("result.json", result.to_json() + "\n")
    return result.model_copy(update={"directory": directory.path})


def write_statement(directory: RunDirectory, statement: Statement) -> None:
    """Writes a run's privacy statement and its page; raises RunDirectoryError if it cannot."""
    directory.write("privacy_statement.json", statement.to_json())
    directory.write("privacy_statement.md", statement_page(statement))


def amend(
    directory: RunDirectory,
    result: Result,
    baselines: Baselines,
    personalisation: Personalisation | None = None,
) -> Result:
    """Returns a finished run's result with what was computed afterwards; writes it and its report."""
    amended = result.model_copy(update={"baselines": baselines, "personalisation": personalisation})
    directory.write("report.html", report_page(Material.read(directory, amended)))
    directory.write("result.json", amended.to_json() + "\n")
    return amended
